"""``python -m sweep show``: the state of each configuration, with the reason of every failure."""

from __future__ import annotations

import io

from rich.console import Console

from sweep.commands.show import print_state
from sweep.config import load_frozen
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store


def printed(store: Store) -> list[str]:
    out = io.StringIO()
    print_state(load_frozen(store.results / "s" / "sweep.yaml"), store, Console(file=out, width=160))
    return out.getvalue().splitlines()


def test_each_configuration_is_counted_by_status(store: Store) -> None:
    lines = [line.split() for line in printed(store)]
    assert [line[0] for line in lines[2:]] == ["iprm", "iprm", "aug", "aug"]
    assert all(line[-2:] == ["2", "done"] for line in lines[2:])


def test_a_failure_is_shown_with_cause_reason_and_attempts(store: Store) -> None:
    failed = next(store.results.glob("runs/*"))
    record = FinalRecord(status="failed", cause="timeout", reason="took 60 s", attempts=2)
    (failed / "final.json").write_text(record.model_dump_json())
    lines = printed(store)
    assert "1 failed: 1 timeout" in lines
    assert lines[-1].startswith(f"{failed.name} (")
    assert "took 60 s" in lines[-1]
    assert lines[-1].endswith(", after 2 attempts")
