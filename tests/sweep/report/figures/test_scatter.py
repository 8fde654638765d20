"""A dot a configuration: where it stands, how far its arms reach, which dots have names, and how far the axes go."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from support.described_figures import assert_looks_as_before

from sweep.report.figures.scatter import NAMED, NUMBERED, Against, draw_dots, front_text, numbered

COST = Against("cost", "seconds", 10.0)


def row(label: str, cost: float, accuracy: float, **changed: Any) -> dict[str, Any]:
    return {
        "label": label, "point": "", "baseline": False, "front": False, "cost": cost, "cost_low": cost - 0.25,
        "cost_high": cost + 0.5, "accuracy": accuracy, "accuracy_low": accuracy - 0.02,
        "accuracy_high": accuracy + 0.01, **changed,
    }  # fmt: skip


TABLE = pd.DataFrame([
    row("iprm", 4.0, 0.9, front=True),
    row("joint", 1.0, 0.7, front=True, baseline=True),
    row("aug", 3.0, 0.6, accuracy_low=math.nan, accuracy_high=math.nan),
    row("bss", 2.0, 0.8, front=True, cost_low=math.nan, cost_high=math.nan),
    row("ensemble", 3.5, 0.65, baseline=True),
])  # fmt: skip


@pytest.fixture
def ax() -> Any:
    figure, found = plt.subplots(layout="constrained")
    yield found
    plt.close(figure)


def test_the_figure_is_as_it_was_looked_at(ax: Axes) -> None:
    draw_dots(ax, TABLE, COST)
    assert_looks_as_before("scatter", ax.figure)  # type: ignore[arg-type]


def test_dots_stand_at_the_means_with_arms_to_their_intervals(ax: Axes) -> None:
    draw_dots(ax, TABLE, COST)
    found = {container.get_label(): container for container in ax.containers}
    assert list(found) == ["method", "baseline"]
    line, _, (across, up) = found["method"]
    assert line.get_xdata() == pytest.approx([40, 30, 20])
    assert line.get_ydata() == pytest.approx([90, 60, 80])
    assert [list(arm[:, 0]) for arm in across.get_segments()] == [[37.5, 45], [27.5, 35], [20, 20]]
    np.testing.assert_allclose([arm[:, 1] for arm in up.get_segments()], [[88, 91], [60, 60], [78, 81]])
    assert found["baseline"][0].get_xdata() == pytest.approx([10, 35])
    assert ax.get_xlabel() == "seconds"


def test_the_front_is_a_line_of_its_members_from_the_cheapest_on(ax: Axes) -> None:
    draw_dots(ax, TABLE, COST)
    (front,) = (line for line in ax.lines if line.get_label() == "front")
    assert front.get_xdata() == pytest.approx([10, 20, 40])
    assert front.get_ydata() == pytest.approx([70, 80, 90])


def test_members_of_the_front_are_numbered_and_few_dots_bear_their_names(ax: Axes) -> None:
    draw_dots(ax, TABLE, COST)
    said = [(text.get_text(), getattr(text, "xy")) for text in ax.texts]  # noqa: B009
    expected = [("1", (40, 90)), ("2", (20, 80)), ("3", (10, 70))]
    expected += [("iprm", (40, 90)), ("joint", (10, 70)), ("aug", (30, 60)), ("bss", (20, 80)), ("ensemble", (35, 65))]
    assert [text for text, _ in said] == [text for text, _ in expected]
    for (_, place), (_, where) in zip(said, expected, strict=True):
        assert place == pytest.approx(where)
    assert front_text(TABLE) == "1 iprm, 2 bss, 3 joint"


def test_of_many_dots_the_baselines_alone_bear_their_names(ax: Axes) -> None:
    rows = [row(f"m{k}", k, 0.5 + 0.01 * k, baseline=k in (2, 3)) for k in range(NAMED + 1)]
    draw_dots(ax, pd.DataFrame(rows), COST)
    assert [text.get_text() for text in ax.texts] == ["m2", "m3"]
    ax.clear()
    draw_dots(ax, pd.DataFrame(rows[:-1]), COST)
    assert [text.get_text() for text in ax.texts] == [f"m{k}" for k in range(NAMED)]


def test_of_a_long_front_the_most_accurate_members_are_numbered() -> None:
    table = pd.DataFrame([row(f"m{k}", k, 0.5 + 0.01 * k, front=k != 11) for k in range(NUMBERED + 3)])
    assert [each["label"] for each in numbered(table)] == [f"m{k}" for k in range(10, 1, -1)]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        # A fifth of a quarter of the span of the means is left beyond what is shown.
        (0.58, 0.82, (58 - 1, 82 + 1)),
        (0.1, 0.99, (60 - 5 - 1, 80 + 5 + 1)),
        (math.nan, math.nan, (60 - 1, 80 + 1)),
    ],
)
def test_an_axis_holds_every_mean_and_is_not_stretched_by_an_interval(
    ax: Axes, low: float, high: float, expected: tuple[float, float]
) -> None:
    ends = {"accuracy_low": low, "accuracy_high": high}
    draw_dots(ax, pd.DataFrame([row("a", 1.0, 0.6, **ends), row("b", 2.0, 0.8, **ends)]), COST)
    assert ax.get_ylim() == pytest.approx(expected)


def test_equal_means_have_an_axis_of_a_hundredth(ax: Axes) -> None:
    ends = {"accuracy_low": 0.6, "accuracy_high": 0.6}
    draw_dots(ax, pd.DataFrame([row("a", 1.0, 0.6, **ends), row("b", 2.0, 0.6, **ends)]), COST)
    assert ax.get_ylim() == pytest.approx((60 - 0.05, 60 + 0.05))
