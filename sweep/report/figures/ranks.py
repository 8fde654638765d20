"""The critical-difference diagram: average ranks over datasets, and which of them are not told apart."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sweep.analysis.over_datasets import OverDatasets
from sweep.report.figures.style import COLOURS, GREY, Drawing, new_figure


def draw_ranks(found: OverDatasets | None) -> Iterator[Drawing]:
    """Draw the diagram, where ranks can be tested over datasets (Demšar, JMLR 2006)."""
    if found is None or math.isnan(found.critical):
        return
    table = found.table
    figure = new_figure(3.6 + 0.05 * max(map(len, table["label"])), 0.9 + 0.17 * len(table))
    ax = figure.subplots()
    for place, row in enumerate(table.to_dict("records")):
        ax.plot([row["rank_low"], row["rank_high"]], [place, place], color=COLOURS[0], linewidth=1.2, alpha=0.4)
        ax.plot(row["rank"], place, "o", color=COLOURS[0], markersize=4.5)
    for number, (first, last) in enumerate(found.cliques()):
        ends = [table["rank"].iloc[first], table["rank"].iloc[last]]
        height = last + 0.3 + 0.14 * (number % 2)
        ax.plot(ends, [height, height], color=GREY, linewidth=2.4, solid_capstyle="butt")
    left = 1.0
    ax.plot([left, left + found.critical], [-1, -1], color="black", linewidth=1.2, marker="|", markersize=5)
    ax.text(left + found.critical, -1, f"  critical difference {found.critical:.2f}", va="center", fontsize=6.5)
    ax.set_yticks(range(len(table)), list(table["label"]))
    ax.set_ylim(len(table) - 0.2, -1.6)
    ax.set_xlim(0.8, len(table) + 0.2)
    ax.set_xlabel("average rank (1 is the best)")
    ax.grid(visible=False, axis="x")
    text = (
        f"Average ranks by {found.metric.replace('_', ' ')} over {len(found.datasets)} datasets "
        f"({', '.join(found.datasets)}); light: 95 % interval over runs. Methods that a grey bar joins are not told "
        "apart (Nemenyi's test, 5 %)."
    )
    yield Drawing("ranks", text, figure, "ranks")
