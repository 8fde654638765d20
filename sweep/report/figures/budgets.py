"""A figure of searches against their budget: methods and baselines, by number of configurations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from sweep.analysis.parts import Parts, metric_label, selection_metric
from sweep.analysis.search_budget import budget_curves
from sweep.report.figures.style import COLOURS, DASHES, GREY, Drawing, add_legend, new_figure, slug


def draw_budgets(parts: Parts) -> Iterator[Drawing]:
    """Draw a figure a dataset with a search: the expected best validation value by number of configurations."""
    curves = budget_curves(parts)
    datasets = list(dict.fromkeys(curve.dataset for curve in curves))
    for dataset in datasets:
        figure = new_figure(4.2, 2.8)
        ax = figure.subplots()
        own = [curve for curve in curves if curve.dataset == dataset]
        dashes, colours = itertools.cycle(DASHES), itertools.cycle(COLOURS)
        for curve in own:
            across = np.arange(1, curve.configurations + 1)
            colour, dash = (GREY, next(dashes)) if curve.baseline else (next(colours), "-")
            ax.fill_between(across, 100 * curve.low, 100 * curve.high, color=colour, alpha=0.12, linewidth=0)
            ax.plot(across, 100 * curve.expected, color=colour, linestyle=dash, label=curve.label)
        ax.set_xlabel("configurations tried")
        ax.set_ylabel(f"expected best {metric_label(selection_metric(parts.runs))}")
        ax.set_title(dataset, loc="left")
        add_legend(figure, [ax])
        stem = "search-budget" if len(datasets) == 1 else f"search-budget-{slug(dataset)}"
        text = (
            f"{dataset}: the best {metric_label(selection_metric(parts.runs))} to expect of so many configurations, of "
            "those that each search tried, drawn with replacement; band: 5 to 95 % of cases. Exact for random search; "
            "a search that adapts tries better ones later, which flatters its beginning. Maxima are optimistic."
        )
        yield Drawing(stem, text, figure, "search")
