"""Parts of the page: a plot is a responsive part without Plotly in it, and its texts stay texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sweep.report.blocks import Block, Plot, Table, plot_html


def drawn(plot: Plot) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Traces, layout and settings that the page hands to Plotly."""
    page = plot_html(plot)
    decoder, rest, found = json.JSONDecoder(), page[page.index("Plotly.newPlot(") :], list[Any]()
    rest = rest[rest.index(",") :]
    while len(found) < 3:
        rest = rest[min(place for sign in "[{" if (place := rest.find(sign)) >= 0) :]
        part, end = decoder.raw_decode(rest)
        found.append(part)
        rest = rest[end:]
    return found[0], found[1], found[2]


def test_a_plot_is_a_part_of_a_page_that_has_plotly_once() -> None:
    page = plot_html({"data": [{"type": "bar", "x": ["a"], "y": [1]}], "layout": {}})
    assert page.lstrip().startswith("<div")
    assert "<html" not in page
    assert len(page) < 10_000
    assert drawn({"data": [], "layout": {}})[2] == {"displaylogo": False, "responsive": True}


def test_a_figure_that_plotly_would_refuse_is_shown_all_the_same() -> None:
    assert drawn({"data": [{"type": "bar", "no such key": 1}], "layout": {}})[0][0]["no such key"] == 1


def test_texts_of_people_are_no_tags_and_ours_are() -> None:
    traces, layout, _ = drawn(
        {
            "data": [
                {"name": "<b>a</b>", "x": ("<i>", "y"), "y": [1.5, 2], "hovertemplate": "<b>%{x}</b>"},
                {"type": "parcats", "dimensions": [{"label": "<u>", "values": [1, 2]}]},
            ],
            "layout": {"title": {"text": "<s>"}, "xaxis": {"title": {"text": "<q>"}}},
        }
    )
    assert traces[0]["name"] == "&lt;b&gt;a&lt;/b&gt;"
    assert traces[0]["x"] == ["&lt;i&gt;", "y"]
    assert traces[0]["y"] == [1.5, 2]
    assert traces[0]["hovertemplate"] == "<b>%{x}</b>"
    assert traces[1]["dimensions"][0]["label"] == "&lt;u&gt;"
    assert layout["title"]["text"] == "&lt;s&gt;"
    assert layout["xaxis"]["title"]["text"] == "&lt;q&gt;"


@pytest.mark.parametrize("values", [[1, "<i>"], []])
def test_an_axis_that_begins_with_a_number_is_of_numbers(values: list[Any]) -> None:
    assert drawn({"data": [{"type": "bar", "x": values}], "layout": {}})[0][0]["x"] == values


def test_tables_of_a_page_point_out_no_rows_unless_told() -> None:
    first, second = Table(["a"], [["1"]]), Table(["a"], [["1"]])
    first.best.add(0)
    assert second.best == set()
    assert Block().table is None
