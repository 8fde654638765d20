"""Several objectives and races: what is on the front, what is ranked, and what is only counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_results import Results, noisy, pareto_search

from sweep.findings import findings
from sweep.pareto import Front, draw_fronts, fronts
from sweep.report_tables import configurations, pareto_blocks
from sweep.results import load
from sweep.shape import Shape
from sweep.standing import COMPLETE, asked, raced_out, standings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results")
    pareto_search(path)
    return path / "two"


@pytest.fixture(scope="module")
def shape(folder: Path) -> Shape:
    return Shape(load(folder))


@pytest.fixture(scope="module")
def front(folder: Path, shape: Shape) -> Front:
    wanted = asked(folder)
    assert wanted.objectives == ("accuracy", "imbalance")
    (found,) = fronts(shape, wanted.objectives, wanted.seeds, raced_out(folder))
    return found


def test_none_beats_the_front_and_fewer_seeds_are_never_on_it(front: Front) -> None:
    by_point = front.table.set_index("point")
    assert by_point.index[by_point["front"]].tolist() == ["alpha=0", "alpha=0.1", "alpha=0.2"]
    assert not by_point.loc["alpha=0.3", "front"]
    assert by_point.loc["alpha=0.4", "state"] == "out of the race after 1 seed"
    assert not by_point.loc["alpha=0.4", "ranked"]
    assert front.lost == 1


def test_the_figure_marks_the_front_its_intervals_and_what_is_not_compared(shape: Shape, front: Front) -> None:
    (drawing,) = draw_fronts(shape, [front])
    ax = drawing.figure.axes[0]
    labels = ax.get_legend_handles_labels()[1]
    assert {"front", "beaten", "fewer seeds, not ranked", "joint", "joint + unimodal losses"} == set(labels)
    members = next(c for c in ax.containers if c.get_label() == "front")
    assert list(members[0].get_xdata()) == pytest.approx([10, 25, 40])
    row = front.table[front.table["point"].eq("alpha=0.2")].iloc[0]
    low, high = members[2][1].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((100 * row["accuracy_low"], 100 * row["accuracy_high"]))
    assert "n=1" in [text.get_text() for text in ax.texts]
    assert drawing.stem == "pareto-accuracy-imbalance"
    assert "1 without a finished seed" in drawing.caption


def test_the_table_has_the_front_the_references_and_fresh_seeds(shape: Shape, front: Front) -> None:
    (block,) = pareto_blocks(shape, [front])
    assert block.table is not None
    assert [row[0] for row in block.table.rows] == [
        "alpha=0", "alpha=0.1", "alpha=0.2", "joint (reference)", "joint + unimodal losses (reference)",
    ]  # fmt: skip
    assert block.table.best == {0, 1, 2}
    assert block.table.rows[0][4].endswith("(n = 3)")
    assert "1 out of the race after 1 seed, 1 without a finished seed" in block.table.note
    assert "beaten by none" in findings(shape, [front])[0]


def test_a_mean_over_fewer_seeds_is_listed_after_the_ranked_ones(folder: Path, shape: Shape) -> None:
    table = configurations(shape, ["validation_accuracy"], 20, 3, raced_out(folder))
    searched = table[table["role"].eq("sweep")]
    assert searched["point"].tolist() == [f"alpha={a}" for a in ("0", "0.1", "0.3", "0.2", "0.4", "0.5")]
    assert searched["standing"].tolist() == [COMPLETE] * 4 + ["out of the race after 1 seed", "pruned after 2 epochs"]
    assert configurations(shape, ["validation_accuracy"], 4)["point"].tolist().count("alpha=0.4") == 0


def test_a_search_that_raced_says_what_its_own_choice_reaches(tmp_path: Path) -> None:
    path = pareto_search(tmp_path).path
    (sentence, *_) = findings(Shape(load(path / "two")))
    assert "the search chose alpha=0 with" in sentence
    assert "under 3 fresh seeds" in sentence


def test_a_searched_baseline_is_one_line_and_not_their_mean(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for number, level in enumerate((0.5, 0.9, 0.7)):
        for seed in range(2):
            plain = {"unimodal_loss_weight": 0.0}
            values = {"train.lr": 0.01 * (number + 1)}
            results.run("one", "joint", seed, noisy(seed, level, 0.8, 0.5, noise=0.001), role="reference",
                        hyperparameters=plain, values=values, number=number)  # fmt: skip
    results.run("one", "joint", 100, role="report", values={"train.lr": 0.02}, number=1)
    shape = Shape(load(tmp_path / "one"))
    assert shape.reference_rows("digits")["joint"]["test_accuracy"].mean() == pytest.approx(0.9, abs=0.005)
    assert sorted(shape.baseline["seed"]) == [0, 1, 100]


def test_standings_say_why(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    ends = {0.1: ["done", "done"], 0.2: ["done", "failed"], 0.3: ["diverged", "done"], 0.4: ["done", "running"]}
    for alpha, statuses in ends.items():
        for seed, status in enumerate(statuses):
            results.run("one", "iprm", seed, values={"alpha": alpha}, status=status)
    found = standings(load(tmp_path / "one"))
    assert found["state"].tolist() == [COMPLETE, "1 failed", "1 diverged", "1 seed so far"]
    assert not standings(load(tmp_path / "one"), seeds=3)["ranked"].any()
