"""Replay of a run: the record is found, and numbers are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.engine.replay import Number, ReplayError, find_run
from sweep.runs.store import Store


def test_numbers_are_the_same_within_a_millionth() -> None:
    assert Number("a", 0.5, 0.5 + 9e-7).same
    assert not Number("a", 0.5, 0.5 + 2e-6).same
    assert Number("a", float("nan"), float("nan")).same
    assert not Number("a", 0.5, None).same


def test_a_run_is_found_by_the_beginning_of_its_hash(tmp_path: Path) -> None:
    for name in ("0123456789abcdef", "0123ffffffffffff"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    store = Store(tmp_path)
    assert find_run(store, "012345") == "0123456789abcdef"
    for beginning in ("0123", "nothing"):
        with pytest.raises(ReplayError, match="no single run"):
            find_run(store, beginning)
