"""Labels of points lie apart from each other and from the points, inside their panel, and as near as that allows."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from sweep.report.figures import labels
from sweep.report.figures.labels import DOT, part_labels


@pytest.fixture
def ax() -> Any:
    figure, found = plt.subplots(figsize=(4, 3), layout="constrained")
    found.set_xlim(0, 10)
    found.set_ylim(0, 10)
    yield found
    plt.close(figure)


def label(ax: Axes, text: str, x: float, y: float, side: Any = "left") -> None:
    ax.plot([x], [y], "o")
    ax.annotate(text, (x, y), (4, 3), textcoords="offset points", ha=side, fontsize=6.5)


def parted(ax: Axes) -> dict[str, Annotation]:
    part_labels(ax.figure)  # type: ignore[arg-type]
    return {text.get_text(): text for text in ax.texts if isinstance(text, Annotation)}


def boxes(ax: Axes, found: dict[str, Annotation]) -> dict[str, Bbox]:
    """Measure the texts alone, without the lines that lead to them."""
    for each in found.values():
        each.update_positions(ax.figure.canvas.get_renderer())  # type: ignore[attr-defined]
    return {text: Text.get_window_extent(each) for text, each in found.items()}


def test_a_label_alone_stays_beside_its_point_on_its_side(ax: Axes) -> None:
    label(ax, "right", 3, 5)
    label(ax, "left", 7, 5, "right")
    found = parted(ax)
    assert {text: each.get_position() for text, each in found.items()} == {"right": (4, 4), "left": (-4, 4)}
    assert [each.get_horizontalalignment() for each in found.values()] == ["left", "right"]
    assert all(each.arrow_patch is None for each in found.values())
    assert found["right"].get_fontsize() == 6.5


def test_labels_of_near_points_cover_neither_each_other_nor_a_point(ax: Axes) -> None:
    names = [f"configuration {k}" for k in range(6)]
    for k, name in enumerate(names):
        label(ax, name, 5 + 0.1 * k, 5 + 0.05 * k)
    found = parted(ax)
    assert list(found) == names
    ends = boxes(ax, found)
    for one, other in combinations(ends.values(), 2):
        assert not one.overlaps(other)
    dots = ax.transData.transform([[5 + 0.1 * k, 5 + 0.05 * k] for k in range(6)])
    half = DOT * ax.figure.dpi / 72
    for x, y in dots:
        dot = Bbox.from_extents(x - half, y - half, x + half, y + half).padded(-0.01)
        assert not any(dot.overlaps(each) for each in ends.values())
    far = [each for each in found.values() if max(map(abs, each.get_position())) > 4]
    assert far
    assert all((each.arrow_patch is not None) == (each in far) for each in found.values())


def test_labels_stay_in_their_panel(ax: Axes) -> None:
    label(ax, "a long name of a method", 9.9, 9.9)
    label(ax, "another long name", 0.1, 0.1, "right")
    for each in boxes(ax, parted(ax)).values():
        assert (each.x0 >= ax.bbox.x0, each.x1 <= ax.bbox.x1) == (True, True)
        assert (each.y0 >= ax.bbox.y0, each.y1 <= ax.bbox.y1) == (True, True)


def test_where_no_place_is_free_the_one_is_taken_that_covers_least(ax: Axes) -> None:
    for x in range(51):
        ax.plot([x / 5] * 51, [y / 5 for y in range(51)], ".")
    ax.annotate("full", (5, 5), (4, 3), textcoords="offset points", fontsize=6.5)
    assert list(parted(ax)) == ["full"]


def test_a_place_of_which_anything_is_covered_is_not_free(ax: Axes) -> None:
    label(ax, "x", 5, 5)
    (text,) = ax.texts
    assert isinstance(text, Annotation)
    x, y = ax.transData.transform((5, 5))
    reach = labels.RINGS[0] * labels._pixels(ax)
    centres = [
        (x + right * (reach + 0.5 * 40), y + up * (reach + 0.5 * 20)) for right, up in labels.DIRECTIONS
    ]  # those of boxes of 40 by 20
    extent, specks = Bbox.from_bounds(0, 0, 40, 20), [Bbox.from_bounds(a, b, 0.5, 0.5) for a, b in centres]
    near, far = labels.RINGS[:2]
    assert labels._best_place(ax, text, extent, specks[1:])[0] == (near, 1, 1)
    assert labels._best_place(ax, text, extent, specks)[0][0] == far
    # Of equally covered places the first is taken, on the label's own side.
    whole = [Bbox.from_bounds(x - 500, y - 500, 1000, 1000)]
    assert labels._best_place(ax, text, extent, whole)[0] == (near, 1, 1)


def test_dots_and_gaps_are_measured_in_points(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = Figure(dpi=144)
    ax = figure.add_subplot(xlim=(0, 1), ylim=(0, 1))
    ax.plot([0.25, np.nan], [0.5, 0.5], "o")
    ax.plot([0, 1], [0.5, 0.5])
    (dot,) = labels._dots(ax)
    x, y = ax.transData.transform((0.25, 0.5))
    assert dot.extents == pytest.approx([x - 6, y - 6, x + 6, y + 6])
    taken, box = list[int](), Bbox.from_bounds(10, 20, 30, 40)
    seen = list[Bbox]()

    def place(ax: Axes, label: Annotation, extent: Bbox, found: list[Bbox]) -> Any:
        taken.append(len(found))
        seen.extend(found[-1:])
        return (4.0, 1, 1), box

    monkeypatch.setattr(labels, "_best_place", place)
    for text in ("a", "b"):
        ax.annotate(text, (0.25, 0.5), (4, 3), textcoords="offset points")
    part_labels(figure)
    assert taken == [1, 2]
    assert seen[1].extents == pytest.approx([8, 18, 42, 62])


def test_boxes_apart_share_no_area() -> None:
    one = Bbox.from_bounds(0, 0, 2, 3)
    assert labels._common(one, Bbox.from_bounds(5, 5, 1, 1)) == 0
    assert labels._common(one, Bbox.from_bounds(1, 1, 5, 5)) == 2


def test_other_texts_and_lines_without_dots_are_left_alone(ax: Axes) -> None:
    ax.plot([0, 10], [5, 5])
    label(ax, "x", 5, 4.6)
    ax.annotate("n=2", (0.5, 0), (0, 3), ax.get_xaxis_transform(), "offset points")
    ax.text(5, 4.7, "said")
    part_labels(ax.figure)  # type: ignore[arg-type]
    assert [(each.get_text(), each.get_position()) for each in ax.texts] == [
        ("n=2", (0, 3)),
        ("said", (5, 4.7)),
        ("x", (4, 4)),
    ]
