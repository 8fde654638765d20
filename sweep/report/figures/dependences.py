"""A figure of a search: how its objective depends on each hyperparameter, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from sweep.analysis.search_effects import Dependence
from sweep.report.figures.style import COLOURS, is_narrow, new_figure, scale_logarithmically

MOST = 6
"""Hyperparameters of a figure: those with the largest effects."""


def draw_dependences(found: Sequence[Dependence], title: str) -> Figure:
    """Draw a panel a hyperparameter, the largest effect first, on one scale up. title: of that."""
    shown = list(found[:MOST])
    columns = 1 if is_narrow() else min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(2.2 * columns + 0.5, 1.9 * rows + 0.2)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for ax, each in zip(panels, shown, strict=False):
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in each.values)
        if numbers:
            across = np.array(each.values, float)
            ax.fill_between(across, each.low, each.high, color=COLOURS[0], alpha=0.15, linewidth=0)
            ax.plot(across, each.mean, color=COLOURS[0])
            if each.log:
                scale_logarithmically(ax)
        else:
            arms = np.abs(np.stack([each.mean - each.low, each.high - each.mean]))
            ax.errorbar(range(len(each.values)), each.mean, yerr=arms, fmt="o", color=COLOURS[0], capsize=2.5)
            ax.set_xticks(range(len(each.values)), [str(value) for value in each.values])
            ax.margins(x=0.2)
        ax.set_xlabel(each.name)
    for ax in panels[len(shown) :]:
        ax.set_visible(False)
    for ax in panels[::columns]:
        ax.set_ylabel(title)
    return figure
