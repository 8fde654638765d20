"""Figures of a search: history, slices, importances, parallel coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweep.analysis.search_effects import dependences
from sweep.analysis.search_results import IMPORTANCE_NOTE, Importance, SearchResult, importances, search_results
from sweep.plan.objectives import DIRECTIONS
from sweep.report.figures.dependences import draw_dependences
from sweep.report.figures.style import COLOURS, GREY, Drawing, new_figure, scale_logarithmically, slug, turned

STOPPED = "pruned, or out of the race"


def search_drawings(sweep: Path, metric: str) -> Iterator[Drawing]:
    """Draw every figure of every study of the sweep in a folder."""
    found = [search for search in search_results(sweep, metric) if search.trials("COMPLETE")]
    for search in found:
        alone = len({(s.label, s.dataset) for s in found}) == 1
        prefix = ("search" if alone else f"search-{slug(search.label)}-{slug(search.dataset)}") + _objective_suffix(
            search
        )
        title = f"{search.label} on {search.dataset}"
        counts = ", ".join(
            f"{len(search.trials(s))} {w}"
            for s, w in (("COMPLETE", "finished"), ("PRUNED", STOPPED), ("FAIL", "failed"))
        )
        yield Drawing(
            f"{prefix}-history",
            f"{title}: {search.title} of each trial ({counts}); line: best so far.",
            draw_history(search),
            "search",
        )
        text = f"{title}: {search.title} against each hyperparameter; darker trials are later, crosses were {STOPPED}."
        yield Drawing(f"{prefix}-slices", text, draw_slices(search), "search")
        if found_effects := dependences(search):
            text = f"{title}: {search.title} against each hyperparameter, averaged over what was tried of the others, "
            text += "as a random forest predicts it; band: 95 % interval over forests of trials drawn with replacement."
            yield Drawing(f"{prefix}-dependence", text, draw_dependences(found_effects, search.title), "search")
        if len(search.common) > 1:
            partial = [name for name in search.parameters if name not in search.common]
            text = f"{title}: each line is a finished trial; the better, the darker. The thick line is the best."
            text += f" Not of every trial, so not drawn: {', '.join(partial)}." if partial else ""
            yield Drawing(f"{prefix}-parallel", text, draw_parallel(search), "search")
            shares = importances(search)
            if not isinstance(shares, str):
                yield Drawing(
                    f"{prefix}-importances", f"{title}: {IMPORTANCE_NOTE}", draw_importances(shares), "search"
                )


def _objective_suffix(search: SearchResult) -> str:
    """Make the part of a file's name that tells the objectives of one study apart."""
    return f"-{slug(search.objective)}" if search.is_one_of_several else ""


def draw_history(search: SearchResult) -> Figure:
    """Draw the objective of each trial and the best so far."""
    done = search.trials("COMPLETE")
    number, value = [t.number for t in done], np.array([search.value(t) for t in done])
    figure = new_figure(4.4, 2.6)
    ax = figure.subplots()
    ax.scatter(number, value, s=16, color=COLOURS[0], label="finished", zorder=3)
    ax.step(number, search.best_so_far(value), where="post", color=COLOURS[1], linewidth=1.6, label="best so far")
    for state, marker, word in (("PRUNED", "x", STOPPED), ("FAIL", "|", "failed")):
        if numbers := [t.number for t in search.trials(state)]:
            ax.plot(
                numbers,
                [0.02] * len(numbers),
                marker,
                transform=ax.get_xaxis_transform(),
                color=GREY,
                label=word,
                clip_on=False,
            )
    ax.set(xlabel="trial", ylabel=search.title)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def draw_slices(search: SearchResult) -> Figure:
    """Draw the objective against each hyperparameter, a panel each."""
    names = search.parameters
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = new_figure(max(3.4, 1.9 * columns + 0.5), 1.9 * lines + 0.3)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for ax in panels.ravel()[len(names) :]:
        ax.remove()
    for ax, name in zip(panels.ravel(), names, strict=False):
        done = [t for t in search.trials("COMPLETE") if name in t.params]
        places = _places(ax, search, name)
        ax.scatter(
            [places(t.params[name]) for t in done], [search.value(t) for t in done], c=[t.number for t in done],
            cmap="Blues", vmin=-len(done) / 2, s=14, edgecolors=GREY, linewidths=0.3, zorder=3,
        )  # fmt: skip
        pruned = [t for t in search.trials("PRUNED") if name in t.params]
        ax.plot(
            [places(t.params[name]) for t in pruned],
            [0.03] * len(pruned),
            "x",
            transform=ax.get_xaxis_transform(),
            color=GREY,
        )
        ax.set_xlabel(name)
    for ax in panels[:, 0]:
        ax.set_ylabel(search.title)
    return figure


def _places(ax: Axes, search: SearchResult, name: str) -> Any:
    """Set up the x axis for a hyperparameter, and give the function from its values to places there."""
    distribution = search.distribution(name)
    choices = getattr(distribution, "choices", None)
    if choices is None:
        if getattr(distribution, "log", False):
            scale_logarithmically(ax)
        return lambda value: value
    words = [str(choice) for choice in choices]
    ax.set_xticks(range(len(words)), words, **turned(words))
    ax.margins(x=0.2)
    return choices.index


def draw_importances(shares: list[Importance]) -> Figure:
    """Draw a bar a hyperparameter with the level of chance."""
    figure = new_figure(4.0, 0.26 * len(shares) + 0.8)
    ax = figure.subplots()
    y = range(len(shares))
    ax.barh(
        y,
        [s.share for s in shares],
        color=[COLOURS[0] if s.share > s.chance else "#b5c7d6" for s in shares],
        height=0.6,
    )
    ax.plot(
        [s.chance for s in shares], y, "|", color="black", markersize=11, markeredgewidth=1.4, label="95 % of chance"
    )
    ax.set_yticks(y, [s.name for s in shares])
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("share of importance")
    figure.legend(loc="outside upper center")
    return figure


def draw_parallel(search: SearchResult) -> Figure:
    """Draw finished trials as lines over one axis a hyperparameter, each from its smallest to its largest value."""
    import matplotlib

    names, trials = search.common, search.trials("COMPLETE")
    columns = [_unit_scaled(search, name, [t.params[name] for t in trials]) for name in names]
    values = np.array([search.value(t) for t in trials])
    height = (values - values.min()) / (np.ptp(values) or 1.0)
    better = height if DIRECTIONS[search.objective] == "maximize" else 1 - height
    order = np.argsort(better)
    lines = np.column_stack([*(c[0] for c in columns), height])
    figure = new_figure(max(4.4, 1.15 * (len(names) + 1)), 2.8)
    ax = figure.subplots()
    palette = matplotlib.colormaps["Blues"]
    for index in order:
        best = index == order[-1]
        ax.plot(
            lines[index],
            color=COLOURS[1] if best else palette(0.25 + 0.75 * better[index]),
            linewidth=2.2 if best else 0.9,
        )
    ends = [*(c[1] for c in columns), (f"{values.min():.4g}", f"{values.max():.4g}")]
    for x, (low, high) in enumerate(ends):
        ax.annotate(low, (x, 0), (0, -4), textcoords="offset points", ha="center", va="top", fontsize=6.5, color=GREY)
        ax.annotate(
            high, (x, 1), (0, 4), textcoords="offset points", ha="center", va="bottom", fontsize=6.5, color=GREY
        )
    ax.set_xticks(range(len(names) + 1), [*names, search.title.removeprefix("validation ")], rotation=20)
    ax.tick_params(axis="x", length=0, pad=12)
    ax.set_yticks([])
    ax.set_ylim(-0.02, 1.02)
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_visible(False)
    ax.grid(visible=True, axis="x", color=GREY, linewidth=0.8)
    return figure


def _unit_scaled(search: SearchResult, name: str, values: list[Any]) -> tuple[np.ndarray, tuple[str, str]]:
    """Map values to [0, 1] over their range, in the logarithm where the search is, and name the ends of the range."""
    distribution = search.distribution(name)
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        numbers = np.array([choices.index(v) for v in values], float)
        return numbers / max(1, len(choices) - 1), (str(choices[0]), str(choices[-1]))
    numbers = np.array(values, float)
    scaled = np.log(numbers) if getattr(distribution, "log", False) else numbers
    return (scaled - scaled.min()) / (np.ptp(scaled) or 1.0), (f"{numbers.min():.3g}", f"{numbers.max():.3g}")
