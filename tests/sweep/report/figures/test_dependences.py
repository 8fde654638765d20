"""Dependences: a panel a hyperparameter, the largest effects alone."""

from __future__ import annotations

import numpy as np
from support.described_figures import assert_looks_as_before

from sweep.analysis.search_effects import Dependence
from sweep.report.figures.dependences import MOST, draw_dependences
from sweep.report.figures.style import for_paper


def dependence(name: str, values: tuple[object, ...], log: bool = False) -> Dependence:
    mean = 80 + np.arange(len(values), dtype=float)
    return Dependence(name, values, mean, mean - 1, mean + 2, 1.0, 0.5, 1.5, log)


def test_dependences_look_as_before() -> None:
    found = [
        dependence("rho", (0.001, 0.01, 0.1), log=True), dependence("scope", ("head", "all")),
        dependence("tau", (1.0, 2.0)), dependence("passes", (1, 2, 3)),
    ]  # fmt: skip
    assert_looks_as_before("dependences", draw_dependences(found, "validation accuracy (%)"))
    with for_paper(3.3):
        assert_looks_as_before("dependences-narrow", draw_dependences(found[:2], "validation accuracy (%)"))


def test_no_more_than_the_largest_effects_are_drawn() -> None:
    figure = draw_dependences([dependence(f"h{n}", (1.0, 2.0)) for n in range(MOST + 3)], "x")
    assert [ax.get_xlabel().split()[0] for ax in figure.axes if ax.axison] == [f"h{n}" for n in range(MOST)]
