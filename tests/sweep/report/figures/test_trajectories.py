"""Diagnostics over the epochs, and the published course of LFA's weight beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.report.figures.trajectories import MOST_LINES, MOST_PANELS, draw_trajectories
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
