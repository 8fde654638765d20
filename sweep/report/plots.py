"""Interactive plots of the report: curves over a hyperparameter, learning curves, the views of a search.

They are written by Plotly's names for parts of traces and layouts, not as objects of its classes: these check and copy
each value several times, which took longer than all else about a plot. The tests let the classes check them."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.parts import (
    Axis,
    Grid,
    Parts,
    by_split,
    chosen_run,
    configuration_name,
    means_and_counts,
    metric_label,
    modalities,
    selection_metric,
)
from sweep.analysis.search_results import Importance, SearchResult, importances
from sweep.analysis.statistics import curve, interval_arms, summarise
from sweep.report.blocks import Plot
from sweep.report.figures.reference_lines import reference_lines
from sweep.report.figures.style import COLOURS, FUSED, GREY, MARKERS, tick_text
from sweep.results.tables import METRICS, columns_of
from sweep.runs.shown_text import for_plotly

SYMBOLS = dict(zip(MARKERS, ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross"), strict=True))
Trace = dict[str, Any]
"""A line of a plot, by the names of Plotly's scatter traces."""
MOST_LINES = 24
"""Configurations whose learning curves are drawn: the best on validation data."""


def curve_plot(parts: Parts, grid: Grid, axis: Axis, dataset: str, metrics: Sequence[str] = METRICS) -> Plot:
    """Plot metrics against one varied hyperparameter: mean and 95 % t interval, fused and each modality.

    References are lines; a menu changes the metric, the legend hides series. metrics: those of the menu."""
    rows = grid.through([axis.column])
    columns = [axis.column, "status", "dataset", "label", "seed", *columns_of(rows, "validation_", "test_")]
    rows = rows.loc[rows["dataset"].eq(dataset), columns]
    views = []
    for split, metric in itertools.product(("test", "validation"), metrics):
        column = f"{split}_{metric}"
        if column in rows and rows[column].notna().any():
            views.append((metric_label(column), _curve_traces(parts, rows, axis, column)))
    scale = axis.scale if axis.scale in ("log", "category") else "linear"
    return _with_menu(views, {"title": {"text": axis.label}, "type": scale})


def _curve_traces(parts: Parts, rows: pd.DataFrame, axis: Axis, column: str) -> list[Trace]:
    traces: list[Trace] = []
    for index, name in enumerate([FUSED, *modalities(rows)]):
        values = column if name == FUSED else f"{column}_{name}"
        table, colour = curve(rows, axis.column, values), COLOURS[index % len(COLOURS)]
        x = [str(v) if axis.scale == "category" else v for v in table["value"]]
        text = [
            f"n = {n}" + (f", {f} failed or pruned" if f else "")
            for n, f in zip(table["n"], table["failed"], strict=True)
        ]
        mean, (below, above) = 100 * table["mean"], interval_arms(table)
        low, high = 100 * table["low"], 100 * table["high"]
        arms = {"array": _packed(above), "arrayminus": _packed(below), "symmetric": False}
        line = {"color": colour, "width": 3.5 if name == FUSED else 2}
        shown: Any = True if name == FUSED else "legendonly"
        style: dict[str, Any] = {"name": name, "legendgroup": name, "line": line, "text": text, "visible": shown}
        if axis.scale == "category":
            style |= {"mode": "markers", "error_y": {**arms, "thickness": 1.5}}
        else:
            outline = band_outline(np.array(x, float), low.to_numpy(), high.to_numpy())
            band = {
                "fill": "toself",
                "fillcolor": colour,
                "opacity": 0.18,
                "line": {"width": 0},
                "hoverinfo": "skip",
                "mode": "lines",
                "visible": shown,
            }
            traces.append({"x": outline[0], "y": outline[1], "legendgroup": name, "showlegend": False, **band})
            style |= {"mode": "lines+markers", "error_y": {**arms, "thickness": 0.8, "width": 0}}
        symbol = SYMBOLS[MARKERS[index % len(MARKERS)]]
        most = table["n"].max()
        symbols = [symbol if n == most else f"{symbol}-open" for n in table["n"]]
        marker = {"symbol": symbols, "size": 8, "color": colour}
        hover = "%{x}: %{y:.2f} (%{text})"
        traces.append({"x": x, "y": _packed(mean), "marker": marker, "hovertemplate": hover, **style})
        empty = [(at, f) for at, n, f in zip(x, table["n"], table["pruned"], strict=True) if n == 0]
        if empty and name == FUSED and mean.notna().any():
            words = ["pruned" if pruned else "no finished run" for _, pruned in empty]
            cross = {"symbol": "x-thin-open", "size": 10, "color": "#B00020"}
            traces.append(
                {
                    "x": [at for at, _ in empty], "y": [mean.min()] * len(empty), "mode": "markers", "marker": cross,
                    "text": words, "name": "pruned, or no finished run",
                    "hovertemplate": "%{x}: %{text}<extra></extra>",
                }
            )  # fmt: skip
        ends = (
            [str(axis.values[0]), str(axis.values[-1])]
            if axis.scale == "category"
            else [axis.values[0], axis.values[-1]]
        )
        for reference in reference_lines(parts, rows, values, axis.column):
            title = reference.title if name == FUSED else f"{reference.title}, {name}"
            rule = {"color": GREY if name == FUSED else colour, "dash": reference.plotly_dash, "width": 1.3}
            level = 100 * reference.found.mean
            x_values, y_values = ends, [level] * 2
            if (over := reference.over) is not None:
                x_values = [str(v) if axis.scale == "category" else v for v in over["value"]]
                y_values = list(100 * over["mean"])
            traces.append(
                {
                    "x": x_values, "y": y_values, "mode": "lines", "name": title, "legendgroup": name,
                    "line": rule, "hovertemplate": f"{for_plotly(title)}: %{{y:.2f}}", "visible": shown,
                }
            )  # fmt: skip
    return traces


def band_outline(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[list[float], list[float]]:
    """Outline the area between ``low`` and ``high``: one polygon for each stretch without NaN, NaN between them.

    So no interval is drawn where none is known."""
    places: list[float] = []
    heights: list[float] = []
    known = np.flatnonzero(~np.isnan(low))
    for part in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
        places += [*x[part], *x[part][::-1], np.nan]
        heights += [*high[part], *low[part][::-1], np.nan]
    return places, heights


def learning_plot(rows: pd.DataFrame, epochs: pd.DataFrame) -> Plot | None:
    """Plot each validation metric, the loss and each diagnostic against the epoch, a line a configuration.

    Lines are means over finished seeds; ``rows`` and ``epochs`` are those of one dataset. None where nothing has
    finished."""
    from plotly.colors import sample_colorscale

    done = epochs[epochs["status"].eq("done")]
    if done.empty:
        return None
    ranked = summarise(rows, ["configuration"], selection_metric(rows)).sort_values("mean", ascending=False)[
        "configuration"
    ]
    shown = rows.drop_duplicates("configuration")
    shown = shown[shown["configuration"].isin(ranked[:MOST_LINES])]
    colours = COLOURS if len(shown) <= len(COLOURS) else sample_colorscale("Viridis", np.linspace(0, 0.95, len(shown)))
    names = {r["configuration"]: configuration_name(r) for _, r in shown.iterrows()}
    tint = dict(zip(names, itertools.cycle(colours), strict=False))
    done = done[done["configuration"].isin(names)].drop_duplicates(["hash", "epoch"])
    columns = columns_of(done, "validation_", "loss", "diag.")
    columns = [selection_metric(rows), *(c for c in columns if c != selection_metric(rows) and done[c].notna().any())]
    views = []
    for column in columns:
        factor = 100 if column.startswith("validation_") else 1
        means = (factor * done.groupby(["configuration", "epoch"])[column].mean()).dropna()
        traces = [
            {
                "x": means[key].index.tolist(), "y": _packed(means[key]), "mode": "lines", "name": name,
                "line": {"color": tint[key], "width": 1.8}, "hovertemplate": "epoch %{x}: %{y:.3g}",
            }
            for key, name in names.items()
            if key in means
        ]  # fmt: skip
        words = column.removeprefix("diag.").replace("_", " ")
        views.append((words + (" (%)" if factor == 100 else ""), traces))
    return _with_menu(views, {"title": {"text": "epoch"}})


def heat_plot(grid: Grid, axes: tuple[Axis, Axis], column: str, dataset: str) -> Plot:
    """Plot the mean over seeds for each pair of values of two hyperparameters."""
    from plotly.colors import get_colorscale

    across, up = axes
    rows = grid.through([across.column, up.column])
    means, counts = means_and_counts(rows[rows["dataset"].eq(dataset)], axes, column)
    x, y = [tick_text(v) for v in across.values], [tick_text(v) for v in up.values]
    at = f"{for_plotly(across.label)} %{{x}}, {for_plotly(up.label)} %{{y}}"
    data: list[Trace] = [
        {
            "type": "heatmap", "x": x, "y": y, "z": _packed(100 * means), "customdata": counts.tolist(),
            "colorscale": get_colorscale("Cividis"), "texttemplate": "%{z:.1f}",
            "hovertemplate": f"{at}: %{{z:.2f}} (n = %{{customdata}})<extra></extra>",
            "colorbar": {"title": {"text": metric_label(column), "side": "right"}},
        }
    ]  # fmt: skip
    several = by_split(grid.rows[grid.rows["dataset"].eq(dataset)])
    chosen = [best for part in several if (best := chosen_run(part)) is not None]
    if chosen:
        place = {
            "x": [x[across.values.index(best[across.column])] for best in chosen],
            "y": [y[up.values.index(best[up.column])] for best in chosen],
        }
        box = {"symbol": "square-open", "size": 30, "color": COLOURS[1], "line": {"width": 3}}
        name = "chosen on validation"
        data.append({"type": "scatter", **place, "mode": "markers", "marker": box, "name": name, "hoverinfo": "name"})
    titles = {f"{name}axis": {"title": {"text": a.label}, "type": "category"} for name, a in (("x", across), ("y", up))}
    return {"data": data, "layout": {**_LAYOUT, **titles}}


def search_plots(search: SearchResult) -> list[tuple[str, Plot | str]]:
    """Plot a study: history, slices, parallel coordinates, importances.

    Each comes with its heading; text stands for a plot that cannot be drawn, and says why."""
    from optuna import visualization

    done = search.trials("COMPLETE")
    if not done:
        return [("Optimisation history", "No trial has finished.")]
    options: dict[str, Any] = {"target": search.value, "target_name": search.title}
    plots: list[tuple[str, Plot | str]] = [
        ("Optimisation history", _history(search)),
        ("Slices", _of_optuna(visualization.plot_slice(search.study, **options))),
    ]
    if len(search.common) > 1:
        parallel = visualization.plot_parallel_coordinate(search.study, params=search.common, **options)
        plots.append(("Parallel coordinates", _of_optuna(parallel)))
        shares = importances(search)
        plots.append(("Importances", shares if isinstance(shares, str) else _importance_bars(shares)))
    return plots


def _history(search: SearchResult) -> Plot:
    done = search.trials("COMPLETE")
    numbers, values = [t.number for t in done], [search.value(t) for t in done]
    points: Trace = {"y": values, "mode": "markers", "name": "finished", "marker": {"color": COLOURS[0]}}
    line = {"color": COLOURS[1], "shape": "hv"}
    best: Trace = {"y": list(search.best_so_far(values)), "mode": "lines", "name": "best so far", "line": line}
    titles = {"xaxis": {"title": {"text": "trial"}}, "yaxis": {"title": {"text": search.title}}}
    data = [{"type": "scatter", "x": numbers, **trace} for trace in (points, best)]
    return {"data": data, "layout": {**_LAYOUT, **titles}}


def _importance_bars(shares: Sequence[Importance]) -> Plot:
    names = [s.name for s in shares]
    bars: Trace = {
        "type": "bar", "x": [s.share for s in shares], "y": names, "orientation": "h",
        "marker": {"color": COLOURS[0]}, "name": "share of importance",
    }  # fmt: skip
    tick = {"symbol": "line-ns-open", "size": 16, "color": "black", "line": {"width": 2}}
    chance: Trace = {
        "type": "scatter", "x": [s.chance for s in shares], "y": names, "mode": "markers", "marker": tick,
        "name": "95 % of chance",
    }  # fmt: skip
    return {"data": [bars, chance], "layout": {**_LAYOUT, "yaxis": {"autorange": "reversed"}}}


def _of_optuna(figure: Any) -> Plot:
    """Give a figure of Optuna our layout, and no title: the page has its heading."""
    drawn = figure.to_plotly_json()
    kept = {key: value for key, value in drawn["layout"].items() if key != "title"}
    return {"data": drawn["data"], "layout": {**kept, **_LAYOUT}}


_LAYOUT: dict[str, Any] = {
    "height": 460, "margin": {"t": 60, "l": 70, "r": 20, "b": 60},
    "font": {"family": "system-ui, sans-serif", "size": 13},
}  # fmt: skip


def _with_menu(views: list[tuple[str, list[Trace]]], xaxis: dict[str, Any]) -> Plot:
    """Join several views in one figure, of which a menu shows one."""
    traces = [(owner, trace) for owner, (_, several) in enumerate(views) for trace in several]

    def visibilities(number: int) -> list[Any]:
        return [trace.get("visible", True) if owner == number else False for owner, trace in traces]

    buttons = [
        {"label": title, "method": "update", "args": [{"visible": visibilities(number)}, {"yaxis.title.text": title}]}
        for number, (title, _) in enumerate(views)
    ]
    menu = {"buttons": buttons, "x": 0, "y": 1.14, "xanchor": "left", "yanchor": "top", "direction": "down"}
    data = [
        {"type": "scatter", **trace, "visible": shown}
        for (_, trace), shown in zip(traces, visibilities(0), strict=True)
    ]
    yaxis = {"title": {"text": views[0][0] if views else ""}}
    return {"data": data, "layout": {**_LAYOUT, "updatemenus": [menu], "xaxis": xaxis, "yaxis": yaxis}}


def _packed(values: np.ndarray | pd.Series) -> dict[str, str]:
    """Write numbers as the arrays that Plotly reads fastest, half as long as their digits."""
    array = np.asarray(values, "<f8")
    shape = {"shape": ", ".join(map(str, array.shape))} if array.ndim > 1 else {}
    return {"dtype": "f8", "bdata": base64.b64encode(array.tobytes()).decode("ascii"), **shape}
