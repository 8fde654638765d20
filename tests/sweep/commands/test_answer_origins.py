"""What an answer of a command came from."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from support.small_runs import make_plan

from sweep.commands.answer_origins import depends_on_files_elsewhere, file_digests, is_local_sweep, noticing_warnings


def test_plans_of_files_elsewhere_are_told(tmp_path: Path) -> None:
    sweep = make_plan(tmp_path).sweep
    assert not depends_on_files_elsewhere(sweep)
    assert depends_on_files_elsewhere(sweep.model_copy(update={"datasets": ["crema_d"]}))
    weights = {"left": {"name": "resnet18", "pretrained": "w.pt"}}
    assert depends_on_files_elsewhere(sweep.model_copy(update={"encoders": weights}))


def test_warnings_are_noticed_and_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = list[str]()
    monkeypatch.setattr(warnings, "showwarning", lambda message, *rest, **options: shown.append(message))
    with noticing_warnings() as warned:
        assert not warned.any
        warnings.showwarning("a torn line", UserWarning, "columns.py", 1)
    assert warned.any
    assert shown == ["a torn line"]
    warnings.showwarning("later", UserWarning, "columns.py", 1)
    assert shown[1:] == ["later"]


def test_files_count_by_their_content_and_by_being_there(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("content")
    found = file_digests(tmp_path / name for name in "abc")
    assert list(found) == [str(tmp_path / name) for name in "abc"]
    same, other, absent = found.values()
    assert same == other is not None
    assert absent is None


@pytest.mark.parametrize(
    ("results", "name", "is_local"),
    [("results", "s", True), ("s3://bucket/results", "s", False), ("results", "../s", False), ("results", "", False)],
)
def test_sweeps_of_this_machine_are_told(results: str, name: str, is_local: bool) -> None:
    assert is_local_sweep(results, name) == is_local
