"""``python -m sweep show``: the state of each configuration, with the reason of every failure."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console
from support.small_runs import make_environment, make_epoch, make_plan

from sweep.commands.outlines import outline
from sweep.commands.planned_runs import planned_runs
from sweep.commands.show import print_state, read_state
from sweep.config import load_frozen
from sweep.plan.build import plan
from sweep.plan.configurations import Plan
from sweep.runs.code_texts import code_digest
from sweep.runs.records import FinalRecord, IndexEntry
from sweep.runs.store import Store


def printed(store: Store) -> list[str]:
    out = io.StringIO()
    outlined = outline(plan(load_frozen(store.results / "s" / "sweep.yaml")))
    print_state(read_state(outlined, store), Console(file=out, width=160))
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


# By hand -------------------------------------------------------------------------------------------------------------


def shown(planned: Plan, store: Store) -> list[str]:
    out = io.StringIO()
    print_state(read_state(outline(planned), store), Console(file=out, width=160))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def ended(folder: Path, *ends: FinalRecord | None, code: str | None = None, **keys: Any) -> tuple[Plan, Store]:
    """A sweep whose first runs ended like that (None: is under way), by the order of the plan."""
    planned, store = make_plan(folder, **keys), Store(folder / "results")
    for each, final in zip(planned_runs(planned, store), ends, strict=False):
        run = store.run(each.hash)
        run.open(each.run, make_environment(code=code_digest() if code is None else code))
        if final is None:
            run.append(make_epoch(1))
        else:
            run.commit(final)
    return planned, store


def test_a_sweep_by_hand(tmp_path: Path) -> None:
    failed = FinalRecord(status="failed", reason="boom")
    pruned = FinalRecord(status="pruned", reason="too low", attempts=2)
    planned, store = ended(
        tmp_path, FinalRecord(status="done"), failed, None, pruned, failed,
        title="T", reproduces="Figure 1", vary={"alpha": {"grid": [0.1, 0.5]}}, seeds=[0, 1, 2],
    )  # fmt: skip
    hashes = [each.hash for each in planned_runs(planned, store)]
    title, origin, head, first, second, count, *failures = shown(planned, store)
    assert (title, origin) == ("s: T", "reproduces Figure 1")
    assert head.split() == ["label", "values", "dataset", "runs"]
    assert first.split(maxsplit=3) == ["iprm", "alpha=0.1", "digits", "1 done, 1 failed, 1 begun"]
    assert second.split(maxsplit=3) == ["iprm", "alpha=0.5", "digits", "1 pruned, 1 failed, 1 missing"]
    assert count == "2 failed: 2 error"
    assert failures == [
        f"{hashes[1]} (iprm alpha=0.1 seed 1): failed: boom",
        f"{hashes[3]} (iprm alpha=0.5 seed 0): pruned: too low, after 2 attempts",
        f"{hashes[4]} (iprm alpha=0.5 seed 1): failed: boom",
    ]


def test_an_end_that_does_not_count_is_told_with_its_record(tmp_path: Path) -> None:
    done = FinalRecord(status="done")
    planned, store = ended(tmp_path, done, done, None, seeds=[0, 1, 2, 3])
    hashes = [each.hash for each in planned_runs(planned, store)]
    (store.run(hashes[0]).path / "final.json").write_text('{"status": "do')
    row, damage = shown(planned, store)[2:]
    assert row.split(maxsplit=2) == ["iprm", "digits", "2 missing, 1 done, 1 begun"]
    first = f"{store}/runs/{hashes[0]}/final.json"
    assert damage == f"1 run counts as not ended, as {first} is missing or cannot be read: run trains it again"
    (store.run(hashes[1]).path / "final.json").write_text("")
    assert shown(planned, store)[3] == (
        "2 runs count as not ended, as a record of each is missing or cannot be read (first: "
        f"{store}/runs/{min(hashes[:2])}/final.json): run trains them again"
    )


def test_a_sweep_without_title_or_runs_is_a_name_and_what_is_missing(tmp_path: Path) -> None:
    planned, store = ended(tmp_path)
    title, head, row = shown(planned, store)
    assert (title.rstrip(), head.split()) == ("s", ["label", "values", "dataset", "runs"])
    assert row.split() == ["iprm", "digits", "2", "missing"]


def test_what_is_left_out_is_shown_beside_what_is_trained(tmp_path: Path) -> None:
    vary = {"modality": {"grid": ["left", "x"]}}
    planned, store = ended(tmp_path, method="unimodal", vary=vary, not_applicable="skip", seeds=[0])
    assert [line.split(maxsplit=3) for line in shown(planned, store)[2:]] == [
        ["unimodal", "modality=left", "digits", "1 missing"],
        ["unimodal", "modality=x", "digits", "N/A: unimodal: no modality called 'x'; there are: left, profile"],
    ]


def test_proposed_configurations_are_counted_from_the_index_and_those_of_earlier_code_told(tmp_path: Path) -> None:
    done = FinalRecord(status="done")
    search = {"algorithm": "random", "configurations": 2}
    planned, store = ended(
        tmp_path, done, done, code="before",
        vary={"alpha": {"uniform": [0.1, 0.9]}}, points=[{"alpha": 1.0}], search=search,
    )  # fmt: skip
    entry = IndexEntry(
        hash=next(planned_runs(planned, store)).hash, method="iprm", label="iprm", dataset="digits", role="sweep",
        values={}, configuration="c", seed=0,
    )  # fmt: skip
    lines = [
        entry,
        *(entry.model_copy(update={"number": n, "values": {"alpha": 0.2}, "hash": f"{n:016x}"}) for n in range(3)),
    ]
    (store.sweep("s") / "index.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in lines))
    for number, end in ((0, FinalRecord(status="failed", reason="boom")), (1, FinalRecord(status="done")), (2, None)):
        run = store.run(f"{number:016x}")
        run.open(next(planned_runs(planned, store)).run, make_environment(code=code_digest()))
        run.commit(end) if end else run.append(make_epoch(1))
    assert shown(planned, store)[3:] == [
        "iprm: 3 runs of proposed configurations so far: 1 failed, 1 done, 1 begun",
        "2 runs are of earlier code: since then code of an unknown folder changed",
        "1 failed: 1 error",
        "0000000000000000 (iprm alpha=0.2 seed 0): failed: boom",
    ]


def test_a_search_of_which_nothing_is_known_shows_no_table(tmp_path: Path) -> None:
    search = {"algorithm": "random", "configurations": 2}
    assert shown(*ended(tmp_path, vary={"alpha": {"uniform": [0.1, 0.9]}}, search=search)) == ["s"]
