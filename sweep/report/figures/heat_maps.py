"""Heat maps: a metric against each pair of varied hyperparameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from sweep.analysis.parts import (
    Axis,
    Grid,
    Parts,
    by_split,
    chosen_run,
    means_and_counts,
    metric_label,
    under_same_seeds,
)
from sweep.analysis.statistics import estimate_runs, summarise
from sweep.report.figures.style import Drawing, new_figure, protocol, seed_count, tick_text


def draw_heat_map(parts: Parts, grid: Grid, axes: tuple[Axis, Axis], column: str, stem: str) -> Drawing:
    """Draw the mean of ``column`` over seeds for each pair of values of two hyperparameters, a panel a dataset."""
    across, up = axes
    rows = grid.through([across.column, up.column])
    datasets = list(dict.fromkeys(rows["dataset"]))
    width, height = 0.52 * len(across.values) + 1.6, 0.36 * len(up.values) + 1.5
    figure = new_figure(max(3.2, width * len(datasets)), max(2.4, height))
    table = summarise(rows, ["dataset", across.column, up.column], column)
    bounds = {"vmin": 100 * table["mean"].min(), "vmax": 100 * table["mean"].max(), "cmap": "cividis", "aspect": "auto"}
    for ax, dataset in zip(figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True):
        shares, counts = means_and_counts(rows[rows["dataset"].eq(dataset)], axes, column)
        means = 100 * shares
        image = ax.imshow(means, origin="lower", **bounds)
        for (y, x), mean in np.ndenumerate(means):
            lacking = f"\nn={counts[y, x]}" if counts[y, x] < counts.max() else ""
            text = f"{mean:.1f}{lacking}" if counts[y, x] else "–"
            dark = np.isfinite(mean) and image.norm(mean) < 0.55
            ax.text(x, y, text, ha="center", va="center", fontsize=6.5, color="white" if dark else "black")
        for several in by_split(grid.rows[grid.rows["dataset"].eq(dataset)]):
            if (best := chosen_run(several)) is not None:
                x, y = across.values.index(best[across.column]), up.values.index(best[up.column])
                ax.add_patch(_outline(x, y))
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        ax.set_xticks(range(len(across.values)), [tick_text(v) for v in across.values])
        ax.set_yticks(range(len(up.values)), [tick_text(v) for v in up.values])
        ax.set_xlabel(across.label)
        ax.set_ylabel(up.label)
        part = rows[rows["dataset"].eq(dataset)]
        joint = parts.baseline[parts.baseline["dataset"].eq(dataset)]
        plain = estimate_runs(under_same_seeds(joint, part), column)
        ax.set_title(
            f"{dataset}, {seed_count(part)}" + (f" (joint {100 * plain.mean:.1f}, n = {plain.n})" if plain.n else "")
        )
    figure.colorbar(image, ax=figure.axes, label=metric_label(column), pad=0.02).outline.set_visible(False)
    meanings = "; ".join(f"{a.label}: {a.meaning}" for a in axes if a.meaning)
    text = f"{grid.label}: mean {metric_label(column)} against {across.label} and {up.label}. {meanings}."
    return Drawing(stem, f"{text} Outlined: the configuration chosen on validation. {protocol(rows, column)}", figure)


def _outline(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="#D55E00", linewidth=2)
