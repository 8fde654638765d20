"""What is on a figure, in words and numbers, and whether it is what it was when somebody last looked at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator
from support.kept_texts import assert_as_before, first_digits


def assert_looks_as_before(name: str, figure: Figure, caption: str = "") -> None:
    """Compare what is on a figure, and its caption, with tests/expected/figures/NAME.txt: see ``assert_as_before``."""
    assert_as_before(f"figures/{name}", [*describe(figure), *([f"caption: {caption}"] if caption else [])])


def describe(figure: Figure) -> list[str]:
    """Give a line for each thing that was put on a figure, in the order of drawing within each panel."""
    width, height = figure.get_size_inches()
    lines = [f"figure {first_digits(width)} x {first_digits(height)} inches"]
    lines += [f"over all: {words}" for each in figure.texts if (words := _words(each))]
    for label in (figure._suptitle, figure._supxlabel, figure._supylabel):  # type: ignore[attr-defined]
        lines += [f"over all: {words}" for words in [_words(label) if label is not None else ""] if words]
    lines += [_legend(each) for each in figure.legends]
    for number, ax in enumerate(figure.axes, start=1):
        lines += [f"panel {number}: {line}" for line in _panel(ax)]
    return lines


def _panel(ax: Axes) -> Iterator[str]:
    titles = [ax.get_title(loc=place) for place in ("left", "center", "right")]  # type: ignore[arg-type]
    yield f"titles {titles}, labels {[ax.get_xlabel(), ax.get_ylabel()]}"
    for name, axis, limits in (("x", ax.xaxis, ax.get_xlim()), ("y", ax.yaxis, ax.get_ylim())):
        grid = "grid" if axis._major_tick_kw.get("gridOn") else "no grid"  # type: ignore[attr-defined]
        look = {key: value for key, value in axis.get_tick_params().items() if key in ("length", "pad", "labelsize")}
        ends = " to ".join(map(first_digits, limits))
        yield f"{name} {axis.get_scale()} from {ends}, {grid}, {first_digits(look)}"
        if isinstance(axis.get_major_locator(), FixedLocator):
            labels = [(label.get_text(), label.get_rotation(), label.get_ha()) for label in axis.get_ticklabels()]
            yield f"{name} ticks {first_digits(axis.get_majorticklocs())} {first_digits(labels)}"
        yield f"{name} minor {type(axis.get_minor_locator()).__name__} {type(axis.get_minor_formatter()).__name__}"
    if (background := _colour(ax.get_facecolor())) != "#ffffffff":
        yield f"background {background}"
    shown = [name for name, spine in ax.spines.items() if not spine.get_visible()]
    yield f"hidden: {shown}" + (", whole panel" if not ax.get_visible() else "") + ("" if ax.axison else ", no axes")
    for each in ax.get_children():
        if each in (ax.patch, ax.title, *ax.spines.values(), ax.xaxis, ax.yaxis):
            continue
        if (words := _artist(each)) is not None:
            yield words


def _artist(each: Artist) -> str | None:
    if isinstance(each, Legend):
        return _legend(each)
    if isinstance(each, Text):
        return _words(each) or None
    kind = f"{type(each).__name__} {_label(each)}"
    if isinstance(each, Line2D):
        look = (each.get_linestyle(), each.get_linewidth(), each.get_marker(), each.get_markersize(), each.get_alpha())
        colours = [_colour(each.get_color()), _colour(each.get_markerfacecolor()), _colour(each.get_markeredgecolor())]
        where = "" if each.get_transform().contains_branch(each.axes.transData) else " elsewhere"  # type: ignore[union-attr]
        data = f"x {first_digits(each.get_xdata())} y {first_digits(each.get_ydata())}{where}"
        return f"{kind}{data} {first_digits(look)} {colours} at {first_digits(each.get_zorder())}"
    if isinstance(each, Collection):
        look = [sorted({_colour(c) for c in each.get_facecolor()}), sorted({_colour(c) for c in each.get_edgecolor()})]
        if isinstance(each, PathCollection):
            data = f"{first_digits(each.get_offsets())} sizes {first_digits(each.get_sizes())}"
        elif isinstance(each, LineCollection):
            data = first_digits([segment.tolist() for segment in each.get_segments()])
        else:
            data = first_digits([path.vertices.tolist() for path in each.get_paths()])
        values = "" if each.get_array() is None else f" values {first_digits(each.get_array())} {each.get_cmap().name}"
        return f"{kind}{data}{values} {look} {first_digits(each.get_linewidth())} at {first_digits(each.get_zorder())}"
    if isinstance(each, Patch):
        corners = each.get_path().transformed(each.get_patch_transform()).vertices
        look = [
            _colour(each.get_facecolor()),
            _colour(each.get_edgecolor()),
            first_digits(each.get_linewidth()),
            each.get_fill(),
        ]
        return f"{kind}{first_digits(corners)} {look} at {first_digits(each.get_zorder())}"
    if hasattr(each, "get_array"):
        return f"{kind}{first_digits(each.get_array())} {each.get_cmap().name} {first_digits(each.get_clim())}"
    return f"{kind}"


def _words(text: Text) -> str:
    if not text.get_text():
        return ""
    place = getattr(text, "xyann", None) if hasattr(text, "xy") else text.get_position()
    at = f"{first_digits(place)}" + (f" of {first_digits(text.xy)}" if hasattr(text, "xy") else "")
    look = (text.get_fontsize(), text.get_fontweight(), text.get_rotation(), text.get_ha(), text.get_va())
    return f"text {text.get_text()!r} at {at} {first_digits(look)} {_colour(text.get_color())}"


def _legend(legend: Legend) -> str:
    title = legend.get_title().get_text()
    look = f"{legend._ncols} columns, {first_digits(legend._loc)}, outside {legend._outside_loc}"  # type: ignore[attr-defined]
    return f"legend {[each.get_text() for each in legend.get_texts()]} {title!r} {look}"


def _label(each: Artist) -> str:
    label = str(each.get_label())
    return "" if label.startswith("_") or not label else f"{label!r} "


def _colour(value: Any) -> str:
    return value if isinstance(value, str) and value in ("none", "auto") else to_hex(value, keep_alpha=True)
