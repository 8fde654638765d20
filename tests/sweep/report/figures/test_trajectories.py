"""Diagnostics over the epochs, and the published course of LFA's weight beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.report.figures.trajectories import MOST_LINES, draw_trajectories
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


def test_a_method_without_diagnostics_has_no_such_figure(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "joint", 0)
    assert list(draw_trajectories(Parts(load(tmp_path / "one")), load(tmp_path / "one", "epoch"))) == []
