"""Tables of what a search says: effects with their intervals, and what each step of the path gains."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweep.analysis.search_effects import Dependence, Step
from sweep.report import search_effects
from sweep.report.blocks import Table

SEARCH: Any = SimpleNamespace(label="igm", dataset="digits", title="accuracy (%)")


def dependence(name: str, values: tuple[Any, ...], mean: list[float]) -> Dependence:
    levels = np.array(mean)
    return Dependence(name, values, levels, levels - 1, levels + 1, 3.456, 1.25, 5.0)


FOUND = [dependence("rho", (0.001234567, 0.1), [80.0, 83.456]), dependence("scope", ("all", None), [3.456, 0.0])]
PATH = [Step(None, None, None, 80.0), Step("rho", 0.1, 0.001234567, 82.5), Step("scope", "head", 3, 82.25)]


def tables(monkeypatch: pytest.MonkeyPatch, found: list[Dependence], path: list[Step]) -> list[tuple[str, Table]]:
    monkeypatch.setattr(search_effects, "dependences", lambda search: found)
    monkeypatch.setattr(search_effects, "ablation_path", lambda search: path)
    blocks = search_effects.effect_blocks(SEARCH)
    return [(block.heading, block.table) for block in blocks if block.table is not None]


def test_an_effect_stands_with_its_interval_and_the_value_that_is_best(monkeypatch: pytest.MonkeyPatch) -> None:
    (heading, table), _ = tables(monkeypatch, FOUND, PATH)
    assert heading == "igm on digits: effect sizes"
    assert table.columns == ["hyperparameter", "effect on accuracy (%)", "95 % interval", "largest at"]
    assert table.rows == [["rho", "3.46", "1.25 to 5.00", "0.1"], ["scope", "3.46", "1.25 to 5.00", "all"]]
    assert "a search that adapts tries promising regions more often. Effect:" in table.note


def test_each_step_of_the_path_gains_over_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (heading, table) = tables(monkeypatch, FOUND, PATH)
    assert heading == "igm on digits: from defaults to the choice"
    assert table.rows == [
        ["first configuration", "–", "–", "80.00", "–"],
        ["rho", "0.1", "0.001235", "82.50", "+2.50"],
        ["scope", "head", "3", "82.25", "-0.25"],
    ]


def test_few_trials_give_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tables(monkeypatch, [], []) == []
