"""Labels beside the points of a panel: each moves to where it covers neither another label nor a point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from sweep.report.figures.style import GREY

RINGS = (4.0, 12.0, 22.0)
"""Points between a dot and its label, the nearest first; beyond the first ring a line leads from one to the other."""
DIRECTIONS = ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
DOT = 3.0
"""Half the width of a dot that no label covers, in points."""
GAP = 1.0
"""Points between two labels."""

Place = tuple[float, int, int]
"""Ring, and direction to the right and up."""


def part_labels(figure: Figure) -> None:
    """Move the labels of points, which are annotations of places in the data, within their panels. To be called when
    all is drawn, for the axes have to stand where they stay."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    for ax in figure.axes:
        labels = [text for text in ax.texts if isinstance(text, Annotation) and text.xycoords == "data"]
        extents = [label.get_window_extent(renderer) for label in labels]
        taken = list(_dots(ax))
        for label, extent in zip(labels, extents, strict=True):
            place, box = _best_place(ax, label, extent, taken)
            taken.append(box.padded(GAP * _pixels(ax)))
            _move(ax, label, place)


def _dots(ax: Axes) -> Iterator[Bbox]:
    half = DOT * _pixels(ax)
    for line in ax.lines:
        if line.get_marker() not in ("None", None, "", " "):
            for x, y in line.get_transform().transform(np.asarray(line.get_xydata(), float)):
                if np.isfinite([x, y]).all():
                    yield Bbox.from_extents(x - half, y - half, x + half, y + half)


def _best_place(ax: Axes, label: Annotation, extent: Bbox, taken: list[Bbox]) -> tuple[Place, Bbox]:
    """Find the nearest place that is free, with what it covers; where none is, the one that covers least. Of equally
    near ones that on the label's own side."""
    x, y = ax.transData.transform(label.xy)
    sides = {"left": 1, "right": -1}
    own = sides.get(label.get_horizontalalignment(), 0)
    directions = sorted(DIRECTIONS, key=lambda each: each[0] != own)
    best: tuple[float, Place, Bbox] | None = None
    for ring in RINGS:
        for right, up in directions:
            reach = ring * _pixels(ax)
            left = x + right * reach - extent.width * (1 - right) / 2
            low = y + up * reach - extent.height * (1 - up) / 2
            box = Bbox.from_bounds(left, low, extent.width, extent.height)
            covered = sum(_common(box, each) for each in taken)
            covered += extent.width * extent.height - _common(box, ax.bbox)
            if best is None or covered < best[0] - 1e-6:
                best = covered, (ring, right, up), box
        if best is not None and best[0] <= 1e-6:
            break
    assert best is not None
    return best[1:]


def _move(ax: Axes, label: Annotation, place: Place) -> None:
    ring, right, up = place
    across: tuple[Literal["center", "left", "right"], ...] = ("center", "left", "right")
    level: tuple[Literal["center", "bottom", "top"], ...] = ("center", "bottom", "top")
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
    ax.annotate(
        label.get_text(),
        label.xy,
        (right * ring, up * ring),
        textcoords="offset points",
        ha=across[right],
        va=level[up],
        fontsize=label.get_fontsize(),
        color=label.get_color(),
        arrowprops=line if ring > RINGS[0] else None,
    )
    label.remove()


def _common(one: Bbox, other: Bbox) -> float:
    """Measure the area that two boxes share."""
    shared = Bbox.intersection(one, other)
    return 0.0 if shared is None else float(shared.width * shared.height)


def _pixels(ax: Axes) -> float:
    """Give the pixels of a point."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    return float(figure.dpi) / 72
