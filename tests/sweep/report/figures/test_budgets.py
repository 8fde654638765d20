"""Searches against their budget: a band a search, baselines dashed."""

from __future__ import annotations

from pathlib import Path

from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.report.figures.budgets import draw_budgets
from sweep.results.tables import load


def test_budgets_look_as_before(tmp_path: Path) -> None:
    made = Results(tmp_path)
    made.sweep("s")
    for made.dataset, label in (("digits", "joint"), ("av_digits", "joint"), ("digits", "best")):
        for number, level in enumerate((0.5, 0.7, 0.6)):
            searched = {"values": {"train.lr": level}, "number": number}
            made.run("s", "joint", 0, {"multi": level - 0.1}, role="reference", label=label, **searched)
            made.run("s", "iprm", 0, {"multi": level}, values={"alpha": level}, number=number)
    digits, other = draw_budgets(Parts(load(tmp_path / "s")))
    assert (digits.stem, other.stem) == ("search-budget-digits", "search-budget-av-digits")
    assert_looks_as_before("budgets", digits.figure, digits.caption)
