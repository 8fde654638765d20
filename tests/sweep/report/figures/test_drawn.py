"""Figures that lie on disk are kept while they are those that would be drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure

from sweep.report.figures import drawn
from sweep.report.figures.drawn import FILE, DrawnFigures
from sweep.report.figures.style import FORMATS


def make_figure(last: float = 2.0) -> Figure:
    figure = Figure(layout="constrained")
    first, second = figure.subplots(1, 2, sharex=True, sharey=True)
    first.plot([1.0, last], label="line")
    second.fill_between([0, 1], [0, 1], [1, last])
    return figure


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which the figure a is drawn."""
    for form in FORMATS:
        (tmp_path / f"a.{form}").write_text(form)
    figures = DrawnFigures(tmp_path)
    figures.note("a", figures.digest(make_figure()))
    figures.write()
    return tmp_path


def is_kept(folder: Path, figure: Figure) -> bool:
    figures = DrawnFigures(folder)
    return figures.holds("a", figures.digest(figure))


def test_a_figure_is_kept_until_a_number_of_it_changes(folder: Path) -> None:
    assert is_kept(folder, make_figure())
    assert not is_kept(folder, make_figure(2.0000001))
    assert not DrawnFigures(folder).holds("b", DrawnFigures(folder).digest(make_figure()))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "a.svg").unlink(),
        lambda folder: (folder / "a.png").write_text("half"),
        lambda folder: (folder / FILE).unlink(),
        lambda folder: (folder / FILE).write_text("{"),
        lambda folder: (folder / FILE).write_text('{"a": null}'),
        lambda folder: (folder / FILE).write_text("[1]"),
    ],
)
def test_what_is_damaged_is_drawn_again(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder)
    assert not is_kept(folder, make_figure())


def test_what_draws_it_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with rc_context({"pdf.compression": 1}):
        assert not is_kept(folder, make_figure())
    for name, other in (("folder_digests", lambda: {"sweep": "edited"}), ("version", lambda package: "0")):
        with monkeypatch.context() as patched:
            patched.setattr(drawn, name, other)
            assert not is_kept(folder, make_figure())
    assert is_kept(folder, make_figure())


def test_a_figure_that_cannot_be_written_down_is_drawn_each_time(folder: Path) -> None:
    figure = make_figure()
    figure.axes[0].xaxis.set_major_formatter(lambda x, place: f"{x}")
    figures = DrawnFigures(folder)
    assert figures.digest(figure) is None
    figures.note("a", None)
    figures.write()
    assert not is_kept(folder, make_figure())


def test_equal_figures_elsewhere_in_memory_have_one_digest(folder: Path) -> None:
    figures = [make_figure() for _ in range(8)]
    assert len({DrawnFigures(folder).digest(figure) for figure in figures}) == 1
