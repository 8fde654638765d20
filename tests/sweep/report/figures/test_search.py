"""Figures of a search: history, slices, parallel coordinates, importances."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from support.described_figures import assert_looks_as_before
from support.optuna_studies import random_search

from sweep.analysis.search_results import Importance, search_results
from sweep.report.figures import search as search_figures
from sweep.report.figures.search import draw_history, draw_importances, draw_parallel, draw_slices, search_drawings
from sweep.report.figures.style import COLOURS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_search(tmp_path_factory.mktemp("results"), 30)


def test_a_search_is_drawn_from_its_study(folder: Path) -> None:
    (found,) = search_results(folder, "accuracy")
    values = [100 * float(t.value or 0) for t in found.trials("COMPLETE")]
    best = draw_history(found).axes[0].get_lines()[0]
    assert best.get_ydata() == pytest.approx(np.maximum.accumulate(values))
    slices = draw_slices(found)
    assert [ax.get_xlabel() for ax in slices.axes] == ["rho", "scope", "tau"]
    assert [len(ax.get_lines()[0].get_xdata()) for ax in slices.axes] == [3, 3, 3]
    assert slices.axes[0].get_xscale() == "log"
    assert len(draw_parallel(found).axes[0].get_lines()) == len(values)


def test_every_figure_of_a_study_has_a_name_and_a_caption(folder: Path) -> None:
    drawn = list(search_drawings(folder, "accuracy"))
    kinds = ("history", "slices", "dependence", "parallel", "importances")
    assert [d.stem for d in drawn] == [f"search-{kind}" for kind in kinds]
    assert "27 finished, 3 pruned, or out of the race, 0 failed" in drawn[0].caption
    assert {d.kind for d in drawn} == {"search"}


def test_figures_are_named_by_what_was_searched_where_there_is_more_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for draw in ("draw_history", "draw_slices", "draw_parallel", "draw_importances"):
        monkeypatch.setattr(search_figures, draw, lambda *of: Figure())
    monkeypatch.setattr(search_figures, "dependences", lambda search: [])
    monkeypatch.setattr(search_figures, "importances", lambda search: search.shares)

    def made(label: str, objective: str = "accuracy", several: bool = False, **changes: Any) -> SimpleNamespace:
        found = {"label": label, "dataset": "d", "objective": objective, "is_one_of_several": several, "title": "t"}
        found |= {"common": ["a", "b"], "parameters": ["a", "b"], "shares": "too few", "ran": 3}
        search = SimpleNamespace(**found | changes)
        search.trials = lambda state: [1] * (search.ran if state == "COMPLETE" else 0)
        return search

    def drawn(*searches: SimpleNamespace) -> dict[str, str]:
        monkeypatch.setattr(search_figures, "search_results", lambda sweep, metric: searches)
        return {each.stem: each.caption for each in search_drawings(Path(), "accuracy")}

    each = ["history", "slices", "parallel"]
    one, other = made("x"), made("y", common=["a"])
    assert list(drawn(one, made("z", ran=0))) == [f"search-{kind}" for kind in each]
    assert list(drawn(one, other)) == [
        *(f"search-x-d-{kind}" for kind in each),
        "search-y-d-history",
        "search-y-d-slices",
    ]
    of_two = made("x", several=True), made("x", "seconds", several=True, shares=[])
    assert list(drawn(*of_two)) == [
        *(f"search-accuracy-{kind}" for kind in each),
        *(f"search-seconds-{kind}" for kind in (*each, "importances")),
    ]
    assert drawn(one)["search-parallel"].endswith("The thick line is the best.")
    partly = drawn(made("x", parameters=["a", "b", "c", "d"]))["search-parallel"]
    assert partly.endswith("The thick line is the best. Not of every trial, so not drawn: c, d.")


def test_a_bar_below_chance_is_pale() -> None:
    ax = draw_importances([Importance("rho", 0.9, 0.5), Importance("tau", 0.1, 0.5)]).axes[0]
    colours = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert colours == [COLOURS[0].lower(), "#b5c7d6"]


def test_figures_of_a_search_look_as_before(folder: Path) -> None:
    for drawing in search_drawings(folder, "accuracy"):
        if drawing.stem != "search-dependence":  # what a forest predicts is scikit-learn's
            assert_looks_as_before(drawing.stem, drawing.figure, drawing.caption)
