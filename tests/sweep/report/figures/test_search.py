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


class Study:
    """A search over five hyperparameters whose trials are made by hand; the first two of four have finished."""

    objective, title, common = "seconds", "validation seconds", ("a", "c")
    parameters = ("a", "b", "c", "d", "e")

    def trials(self, state: str) -> list[SimpleNamespace]:
        first = dict.fromkeys("abde", 1.0) | {"c": "x"}
        second = {"a": 10.0, "c": "z", "d": 1.0, "e": 1.0}
        made = {"COMPLETE": [(0, first), (1, second)], "PRUNED": [(2, second)], "FAIL": [(3, first)]}
        return [SimpleNamespace(number=number, params=params) for number, params in made[state]]

    def value(self, trial: SimpleNamespace) -> float:
        return 5.0 - trial.number

    def best_so_far(self, values: Any) -> Any:
        return np.minimum.accumulate(values)

    def distribution(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(choices=("x", "y", "z")) if name == "c" else SimpleNamespace(log=name == "a")


def test_what_a_trial_did_not_set_is_left_out_of_its_panel_and_panels_stand_four_abreast() -> None:
    study: Any = Study()
    panels = draw_slices(study).axes
    assert [ax.get_xlabel() for ax in panels] == [*"abcde"]
    assert [ax.get_subplotspec().get_gridspec().get_geometry() for ax in panels] == [(2, 4)] * 5  # type: ignore[union-attr]
    assert [ax.get_ylabel() for ax in panels] == ["validation seconds", "", "", "", "validation seconds"]
    assert [len(ax.collections[0].get_offsets()) for ax in panels] == [2, 1, 2, 2, 2]  # type: ignore[arg-type]
    assert [len(ax.get_lines()[0].get_xdata()) for ax in panels] == [1, 0, 1, 1, 1]  # type: ignore[arg-type]
    assert panels[2].collections[0].get_offsets()[:, 0].tolist() == [0, 2]  # type: ignore[index,call-overload]
    assert [ax.collections[0].get_clim()[0] for ax in panels[:2]] == [-1, -0.5]


def test_failed_and_pruned_trials_are_marked_below_the_history() -> None:
    study: Any = Study()
    (ax,) = draw_history(study).axes
    marks = {line.get_label(): line for line in ax.get_lines()}
    assert list(marks) == ["best so far", "pruned, or out of the race", "failed"]
    assert [list(marks[word].get_xdata()) for word in list(marks)[1:]] == [[2], [3]]
    assert list(marks["best so far"].get_ydata()) == [5, 4]


def test_the_smallest_value_is_the_best_line_where_less_is_better() -> None:
    study: Any = Study()
    (ax,) = draw_parallel(study).axes
    worse, best = ax.get_lines()
    assert list(best.get_ydata()) == [1, 1, 0]
    assert list(worse.get_ydata()) == [0, 0, 1]
    assert (best.get_color(), best.get_linewidth(), worse.get_linewidth()) == (COLOURS[1], 2.2, 0.9)
    assert [text.get_text() for text in ax.texts] == ["1", "10", "x", "z", "4", "5"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "c", "seconds"]


def test_values_are_places_between_the_ends_of_what_was_tried() -> None:
    study: Any = SimpleNamespace(distribution=lambda name: SimpleNamespace(log=name == "log"))
    for name, values, places, ends in (
        ("log", [1, 10, 100], [0, 0.5, 1], ("1", "100")),
        ("plain", [1, 10, 100], [0, 1 / 11, 1], ("1", "100")),
        ("plain", [2, 2], [0, 0], ("2", "2")),
    ):
        found, said = search_figures._unit_scaled(study, name, values)
        assert (found.tolist(), said) == (pytest.approx(places), ends)
    study.distribution = lambda name: SimpleNamespace(choices=("only",))
    assert search_figures._unit_scaled(study, "c", ["only"])[0].tolist() == [0]


def test_a_bar_below_chance_is_pale() -> None:
    ax = draw_importances([Importance("rho", 0.9, 0.5), Importance("tau", 0.1, 0.5)]).axes[0]
    colours = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert colours == [COLOURS[0].lower(), "#b5c7d6"]


def test_figures_of_a_search_look_as_before(folder: Path) -> None:
    for drawing in search_drawings(folder, "accuracy"):
        if drawing.stem != "search-dependence":  # what a forest predicts is scikit-learn's
            assert_looks_as_before(drawing.stem, drawing.figure, drawing.caption)
