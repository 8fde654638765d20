"""Diagnostics over the epochs, and the published course of LFA's weight beside ours."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.report.figures.style import Drawing, for_paper
from sweep.report.figures.trajectories import MOST_LINES, MOST_PANELS, _name, draw_trajectories
from sweep.results.tables import load


def test_the_learned_weight_stands_beside_the_published_course(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for strategy, fall in (("learned", 0.9), ("heuristic", 0.5)):
        for seed in range(3):
            results.run(
                "one", "lfa", seed, values={"strategy": strategy}, epochs=4,
                diagnostics=lambda epoch, f=fall: {"alpha": f**epoch, "constant": 1.0},
            )  # fmt: skip
    (drawing,) = draw_trajectories(Parts(load(tmp_path / "one")), load(tmp_path / "one", "epoch"))
    ours, theirs = drawing.figure.axes
    assert [ours.get_title(loc="left"), theirs.get_title(loc="left")] == ["alpha, ours", "alpha, published"]
    learned = next(line for line in ours.get_lines() if line.get_label() == "strategy=learned")
    assert list(learned.get_xdata()) == [25, 50, 75, 100]
    assert list(learned.get_ydata()) == pytest.approx([0.9, 0.81, 0.729, 0.6561])
    published = {line.get_label(): line for line in theirs.get_lines()}
    assert {name.removesuffix(", published") for name in published} == {
        "Kinetics-Sounds",
        "CREMA-D",
        "Sarcasm",
        "Twitter2015",
    }
    assert published["CREMA-D, published"].get_ydata()[0] == 1.0
    assert "LFM paper, Figure 3" in drawing.caption
    assert_looks_as_before("trajectories", drawing.figure, drawing.caption)


def test_a_line_ends_with_the_first_of_its_seeds(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed, epochs in ((0, 3), (1, 2)):
        course = lambda epoch, s=seed: {"share": epoch + s, "late" if s else "early": float(epoch)}  # noqa: E731
        results.run("one", "umt", seed, values={"variant": "auto"}, epochs=epochs, diagnostics=course)
    (drawing,) = draw_trajectories(Parts(load(tmp_path / "one")), load(tmp_path / "one", "epoch"))
    lines = {ax.get_title(loc="left"): ax.get_lines()[0] for ax in drawing.figure.axes}
    assert list(lines["share"].get_ydata()) == pytest.approx([1.5, 2.5])
    # What one seed alone tells is drawn of that seed.
    assert list(lines["early"].get_ydata()) == [1, 2, 3]
    assert drawing.caption.endswith("a line is drawn as far as all that have the number go.")


def test_numbers_that_are_whole_have_whole_ticks(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "umt", 0, epochs=4, diagnostics=lambda epoch: {"phase": epoch // 2, "share": epoch / 3})
    (drawing,) = draw_trajectories(Parts(load(tmp_path / "one")), load(tmp_path / "one", "epoch"))
    ticks = {ax.get_title(loc="left"): ax.get_yticks() for ax in drawing.figure.axes}
    assert all(tick == round(tick) for tick in ticks["phase"])
    assert any(tick != round(tick) for tick in ticks["share"])


def test_figures_come_in_the_order_of_the_methods(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for method in ("umt", "bss"):
        results.run("one", method, 0, diagnostics=lambda epoch: {"share": float(epoch)})
    drawn = draw_trajectories(Parts(load(tmp_path / "one")), load(tmp_path / "one", "epoch"))
    assert [drawing.stem for drawing in drawn] == ["trajectory-umt-digits", "trajectory-bss-digits"]


def test_many_configurations_are_thinned_and_pruned_ones_left_out(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for number in range(30):
        status = "pruned" if number == 29 else "done"
        course = lambda epoch, n=number: {"share": n / epoch, "entropy": float(epoch)}  # noqa: E731
        results.run("one", "bss", 0, values={"beta": number / 10}, diagnostics=course, status=status)
    (drawing,) = draw_trajectories(Parts(load(tmp_path / "one")), load(tmp_path / "one", "epoch"))
    entropy, share = drawing.figure.axes
    names = [line.get_label() for line in share.get_lines()]
    assert len(names) == MOST_LINES
    assert (names[0], names[-1]) == ("β = 0", "β = 2.8")
    assert entropy.get_xlabel() == "epoch"
    assert_looks_as_before("trajectories-thinned", drawing.figure, drawing.caption)


def test_of_more_diagnostics_than_panels_the_caption_tells(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for number in range(2):
        course = lambda epoch, n=number: {f"row {place:02}": epoch * n + place for place in range(14)}  # noqa: E731
        results.run("one", "olm", 0, values={"coeff_lr": 0.1 + number}, diagnostics=course)
    (drawing,) = draw_trajectories(Parts(load(tmp_path / "one")), load(tmp_path / "one", "epoch"))
    assert len(drawing.figure.axes) == MOST_PANELS
    assert "Of 14 diagnostics the first 12 are drawn." in drawing.caption
    names = [line.get_label() for line in drawing.figure.axes[0].get_lines()]
    assert names == ["coeff lr = 0.1", "coeff lr = 1.1"]


def test_a_method_without_diagnostics_has_no_such_figure(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "joint", 0)
    assert list(draw_trajectories(Parts(load(tmp_path / "one")), load(tmp_path / "one", "epoch"))) == []


def searched(folder: Path) -> Drawing:
    """Twelve trials of a search, of which the later are the better; one has a short name."""
    results = Results(folder)
    results.sweep("one")
    for number in range(12):
        values = {"strategy": "short"} if number == 11 else {"strategy": "a long name of a strategy", "number": number}
        course = lambda epoch, n=number: {name: n + epoch * k for k, name in enumerate("abcd", start=1)}  # noqa: E731
        found = {"multi": 0.5 + number / 100, "left": 0.5}
        results.run("one", "bss", 0, found, values=values, number=number, diagnostics=course, epochs=2)
    (drawing,) = draw_trajectories(Parts(load(folder / "one")), load(folder / "one", "epoch"))
    return drawing


def test_of_a_search_the_best_trials_are_drawn_by_number_where_their_names_are_long(tmp_path: Path) -> None:
    drawing = searched(tmp_path)
    names = [line.get_label() for line in drawing.figure.axes[0].get_lines()]
    assert names == [*(f"trial {number}" for number in range(3, 11)), "strategy=short"]
    assert "Of all configurations 9 are drawn, the best on validation data." in drawing.caption
    assert "trial 3: strategy=a long name of a strategy, number=3; trial 4: " in drawing.caption
    assert_looks_as_before("trajectories-of-a-search", drawing.figure, drawing.caption)


def test_panels_of_a_narrow_column_stand_two_abreast(tmp_path: Path) -> None:
    with for_paper(3.3):
        drawing = searched(tmp_path)
    grid = drawing.figure.axes[0].get_subplotspec()
    assert grid is not None
    assert grid.get_gridspec().get_geometry() == (2, 2)


def test_a_point_is_named_by_words_that_are_not_too_many() -> None:
    row = {"point": "x" * 39, "label": "l", "number": 7.0}
    names = [row, row | {"point": "x" * 40}, row | {"point": "x" * 40, "number": math.nan}, row | {"point": ""}]
    assert [_name(each) for each in names] == ["x" * 39, "trial 7", "x" * 40, "l"]
