"""Damaged inputs through the command line; ``python -m benchmarks.fuzz --minutes N`` tries many more."""

from __future__ import annotations

import pytest

from benchmarks.fuzz import Case, FuzzDesk, cases, check_many, report_cases
from sweep.report import report
from sweep.report.figures import gallery


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> FuzzDesk:
    return FuzzDesk(tmp_path_factory.mktemp("fuzz") / "box")


def test_damage_is_told_and_changes_nothing_else(desk: FuzzDesk) -> None:
    check_many(desk, cases(), 150)
    desk.check_table()


def test_damage_ends_no_report_with_a_traceback(desk: FuzzDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    # A page of all figures takes ten processor seconds, plots of all metrics take one.
    monkeypatch.setattr(report, "MANY", 0)
    monkeypatch.setattr(gallery, "MOST_FIGURES", 1)
    monkeypatch.setattr(gallery, "FORMATS", ("png",))
    check_many(desk, report_cases(), 4)


def test_a_command_that_writes_elsewhere_is_noticed(desk: FuzzDesk) -> None:
    (desk.folder / "stray").write_text("")
    case = Case("sweeps.yaml", ("validate",), lambda whole: whole, "nothing")
    with pytest.raises(AssertionError, match=r"wrote .*stray"):
        desk.check(case)
    desk.check(case)  # which has put everything back
