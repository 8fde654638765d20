"""The parts of a sweep's rows: grids, points, searches, references; axes and choices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.synthetic_results import Results, alpha_sweep, noisy, references

from sweep.analysis.parts import (
    CHOICE,
    SETTINGS,
    Axis,
    Parts,
    as_one_choice,
    axis,
    chosen_run,
    configuration_name,
    left_out_name,
    means_and_counts,
    metric_label,
    modalities,
    rows_of_each_choice,
    selection_metric,
    shown_metric,
)
from sweep.plan.not_applicable import NotApplicable
from sweep.results.tables import load, point_text


@pytest.fixture
def results(tmp_path: Path) -> Results:
    made = Results(tmp_path)
    made.sweep("one")
    return made


def read(results: Results) -> Parts:
    return Parts(load(results.path / "one"))


def test_a_grid_has_the_axis_that_the_method_declares(tmp_path: Path) -> None:
    alpha_sweep(tmp_path, range(2))
    parts = Parts(load(tmp_path / "iprm-alpha"))
    (grid,) = parts.grids
    (alpha,) = grid.axes
    assert (grid.label, alpha.name, alpha.scale) == ("iprm", "alpha", "linear")
    assert alpha.label == "α (alpha)"
    assert alpha.meaning
    assert alpha.values == tuple(n / 10 for n in range(1, 10))
    assert len(parts.points) == 0
    assert list(parts.reference_rows("digits", parts.planned)) == ["joint", "joint + unimodal losses"]
    assert set(parts.baseline["label"]) == {"joint"}


def test_references_are_those_beside_the_runs_that_are_asked_about(tmp_path: Path) -> None:
    alpha_sweep(tmp_path, range(2))
    parts = Parts(load(tmp_path / "iprm-alpha"))
    first = parts.planned[parts.planned["seed"].eq(0)]
    found = [parts.reference_rows("digits", beside)["joint"] for beside in (parts.planned, first, parts.planned)]
    assert [list(rows["seed"]) for rows in found] == [[0, 1], [0], [0, 1]]
    assert parts.reference_rows("other", first) == {}


def test_parts_have_no_settings_until_they_are_asked_for(tmp_path: Path) -> None:
    alpha_sweep(tmp_path, range(2))
    parts = Parts(load(tmp_path / "iprm-alpha"))
    twice = pd.concat([parts.planned.iloc[[3, 0]], parts.planned.iloc[[0]]])
    whole = parts.with_settings(twice)
    settings = [c for c in parts.runs if c.startswith(SETTINGS) and c not in parts.planned]
    assert {"hp.alpha", "train.lr", "encoder.left", "env.python"} <= {*settings}
    assert len(parts.planned.columns) + len(settings) == len(parts.runs.columns)
    pd.testing.assert_frame_equal(whole[parts.runs.columns], parts.runs.loc[twice.index], check_dtype=False)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((0.1, 0.2, 0.4, 0.6, 0.8, 1.0), "linear"),
        ((0.1, 0.5, 0.9), "linear"),
        ((0.001, 0.01, 0.05, 0.1, 0.2, 0.5), "log"),
        ((1e-10, 1e-3), "log"),
        ((0.001, 0.4, 1.3, 20, 100), "log"),
        ((0, 0.001, 0.01, 0.1), "symlog"),
        ((-10, 1, 100), "linear"),
        ((1, 10.4), "linear"),
        ((1, 10.5), "log"),
        ((0, 100), "linear"),
        ((0, 1, 100), "symlog"),
        ((1, 2, 30), "log"),
        ((7,), "linear"),
        ((5, 10, 20, 30), "linear"),
        (("a", "b"), "category"),
        ((True, False), "category"),
        ((0.5, "auto"), "category"),
        ((0.5, None), "category"),
    ],
)
def test_the_scale_follows_the_grid(results: Results, values: tuple[object, ...], scale: str) -> None:
    for value in values:
        results.run("one", "elsewhere", 0, values={"x": value})
    assert axis(load(results.path / "one"), "vary.x").scale == scale


def test_recipe_and_unknown_names_have_labels(results: Results) -> None:
    for value in (0.1, 0.2):
        results.run("one", "iprm", 0, values={"train.lr": value, "iprm.alpha": value, "data.noise": value})
    rows = load(results.path / "one")
    assert axis(rows, "vary.train.lr").meaning == "learning rate at the start"
    assert axis(rows, "vary.iprm.alpha").label == "α (alpha)"
    assert (axis(rows, "vary.data.noise").label, axis(rows, "vary.data.noise").meaning) == ("noise", "")


@pytest.mark.parametrize(
    ("method", "name", "label", "known"),
    [
        ("igm", "igm.rho.left", "left of ρ (rho)", True),
        ("igm", "inner_epochs.0", "0 of Inner_Iters (inner epochs)", True),
        ("igm", "nothing", "nothing", False),
        ("igm", "iprm.low_rate", "low rate", False),
        ("elsewhere", "a_rate", "a rate", False),
        ("igm", "train.batch_size", "batch size", True),
        ("igm", "train.no_such", "no such", False),
        ("igm", "encoders.left.width", "width", False),
    ],
)
def test_a_part_of_a_hyperparameter_is_one_of_the_whole(method: str, name: str, label: str, known: bool) -> None:
    found = axis(pd.DataFrame({"method": [method], f"vary.{name}": [1]}), f"vary.{name}")
    assert (found.name, found.label, bool(found.meaning)) == (name, label, known)


def test_a_configuration_is_named_by_its_label_and_the_point_where_it_is_one_of_several() -> None:
    assert configuration_name({"label": "iprm", "point": "α=0.5"}) == "iprm: α=0.5"
    assert configuration_name({"label": "iprm", "point": ""}) == "iprm"
    left_out = NotApplicable("lfa", "digits", {"alpha": 0.5}, "it needs more")
    assert left_out_name(left_out) == f"lfa: {point_text({'alpha': 0.5})}"


def several_choices() -> pd.DataFrame:
    """Of a, each split chooses another configuration; of b both the same; c has two on one split."""
    rows = [("a", 0, "a1"), ("a", 1, "a2"), ("b", 0, "b1"), ("b", 1, "b1"), ("c", 0, "c1"), ("c", 0, "c2")]
    return pd.DataFrame(
        [
            {"label": label, "dataset": "d", "split": split, "configuration": name, "point": name, "status": "done"}
            | {"metric": "map", "validation_map": 0.5 + 0.1 * name.endswith("2"), "seed": 0}
            for label, split, name in rows
        ]
    )


def test_what_each_split_chose_is_one_choice() -> None:
    rows = several_choices()
    for label, points in (("a", [CHOICE] * 2), ("b", ["b1"] * 2), ("c", ["c1", "c2"])):
        found = as_one_choice(rows[rows["label"].eq(label)])
        assert found["point"].tolist() == points
    assert as_one_choice(rows[rows["label"].eq("a")])["configuration"].unique().tolist() == [f"a/d/{CHOICE}"]
    chosen = rows_of_each_choice(rows)
    assert chosen["point"].tolist() == [CHOICE, CHOICE, "b1", "b1", "c2"]
    assert rows_of_each_choice(rows.iloc[:0]).empty


def test_one_run_of_each_choice_that_is_made_is_given() -> None:
    rows = several_choices().assign(role="sweep", number=None)
    found = Parts(rows).choices
    assert [run["configuration"] for run in found] == ["c2"]
    assert Parts(rows.assign(status="failed")).choices == []


def test_the_metric_is_what_the_runs_were_selected_by() -> None:
    rows = several_choices()
    assert selection_metric(rows) == "validation_map"
    rows.loc[0, "metric"] = None
    assert selection_metric(rows) == "validation_map"
    for without in (rows.drop(columns="metric"), rows.assign(metric=None)):
        assert selection_metric(without) == "validation_accuracy"


def test_points_that_differ_in_their_names_stand_side_by_side(results: Results) -> None:
    for values in (
        {"strategy": "constant", "alpha": 0.0},
        {"strategy": "constant", "alpha": 0.5},
        {"strategy": "learned"},
    ):
        results.run("one", "lfa", 0, values=values)
    parts = read(results)
    assert parts.points["point"].tolist() == [
        "strategy=constant, alpha=0",
        "strategy=constant, alpha=0.5",
        "strategy=learned",
    ]
    assert [[a.name for a in grid.axes] for grid in parts.grids] == [["alpha"]]


def test_a_comparison_is_points_without_a_grid(results: Results) -> None:
    for method in ("joint", "iprm"):
        results.run("one", method, 0, hyperparameters={"unimodal_loss_weight": 0.0} if method == "joint" else {})
    parts = read(results)
    assert parts.points["label"].tolist() == ["joint", "iprm"]
    assert parts.grids == []
    assert parts.baseline["label"].tolist() == ["joint"]


def test_incomplete_products_are_points(results: Results) -> None:
    for a, b in ((1, 1), (1, 2), (2, 1)):
        results.run("one", "iprm", 0, values={"a": a, "b": b})
    parts = read(results)
    assert (parts.grids, len(parts.points)) == ([], 3)


def test_searched_rows_are_no_grid(results: Results) -> None:
    for number in range(3):
        results.run("one", "igm", 0, values={"rho": 0.1 * (number + 1)}, number=number)
    results.run("one", "igm", 100, values={"rho": 0.1}, role="report")
    parts = read(results)
    assert (len(parts.searched), len(parts.reports), parts.grids, len(parts.points)) == (3, 1, [], 0)


def test_the_choice_is_made_on_validation_among_the_most_seeds(results: Results) -> None:
    for alpha, levels in ((0.1, (0.5, 0.5)), (0.2, (0.6, 0.7)), (0.3, (0.9,))):
        for seed, level in enumerate(levels):
            results.run("one", "iprm", seed, {"multi": level, "left": 0.5, "profile": 0.5}, values={"alpha": alpha})
    results.run("one", "iprm", 1, values={"alpha": 0.3}, status="failed")
    best = chosen_run(load(results.path / "one"))
    assert best is not None
    assert best["vary.alpha"] == 0.2


def test_nothing_is_chosen_where_nothing_has_finished(results: Results) -> None:
    results.run("one", "iprm", 0, values={"alpha": 0.1}, status="failed")
    assert chosen_run(load(results.path / "one")) is None


def test_a_figure_of_one_axis_cuts_a_grid_at_its_choice(results: Results) -> None:
    for a in (1, 2):
        for b in (1, 2, 3):
            results.run(
                "one", "bss", 0, {"multi": a / 4 + b / 100, "left": 0.5, "profile": 0.5}, values={"a": a, "b": b}
            )
    (grid,) = read(results).grids
    assert grid.through(["vary.b"])["vary.a"].unique().tolist() == [2]
    assert len(grid.through(["vary.a", "vary.b"])) == 6
    means, counts = means_and_counts(grid.rows, (grid.axes[0], grid.axes[1]), "test_accuracy")
    assert means == pytest.approx(np.array([[0.26, 0.51], [0.27, 0.52], [0.28, 0.53]]))
    assert (counts == 1).all()


def test_without_test_metrics_validation_is_shown(results: Results) -> None:
    results.run("one", "iprm", 0, values={"alpha": 0.1})
    assert shown_metric(load(results.path / "one"), "map") == "test_map"
    results.sweep("two")
    folder = results.run("two", "iprm", 0, values={"alpha": 0.1})
    (folder / "test.json").write_text('{"metrics": {}}')
    assert shown_metric(load(results.path / "two"), "map") == "validation_map"
    (folder / "final.json").unlink()
    assert shown_metric(load(results.path / "two"), "map") is None


def test_words(results: Results) -> None:
    references(results, "one", range(1))
    assert modalities(load(results.path / "one")) == ["left", "profile"]
    assert metric_label("test_macro_f1") == "test macro-F1 (%)"
    assert metric_label("test_peak_accuracy") == "test-peak accuracy (%)"
    assert Axis("vary.x", "x", "x", "", "linear", (1,)).name == "x"


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
    parts = Parts(load(tmp_path / "one"))
    line = parts.reference_rows("digits", parts.references)["joint"]
    assert line["test_accuracy"].mean() == pytest.approx(0.9, abs=0.005)
    assert sorted(line["seed"]) == [0, 1]
    assert parts.reference_rows("digits", parts.reports)["joint"]["seed"].tolist() == [100]
    assert sorted(parts.baseline["seed"]) == [0, 1, 100]


def test_a_varied_reference_is_a_curve_and_a_line_at_its_choice(results: Results) -> None:
    for seed in range(2):
        for lr, level in ((0.1, 0.7), (0.2, 0.8), (0.4, 0.6)):
            plain = {"unimodal_loss_weight": 0.0}
            found, values = {"multi": level + 0.01 * seed}, {"train.lr": lr}
            results.run("one", "joint", seed, found, role="reference", hyperparameters=plain, values=values)
            results.run("one", "iprm", seed, found, values=values)
        results.run("one", "joint", seed, role="reference", label="joint + unimodal losses")
    parts = read(results)
    beside = parts.planned[parts.planned["seed"].eq(0)]
    assert parts.reference_rows("digits", beside)["joint"]["vary.train.lr"].tolist() == [0.2]
    curves = parts.reference_curves("digits", beside, "vary.train.lr")
    assert list(curves) == ["joint"]
    assert curves["joint"]["vary.train.lr"].tolist() == [0.1, 0.2, 0.4]
    assert parts.reference_curves("digits", beside, "vary.alpha") == {}
    assert set(parts.baseline["vary.train.lr"]) == {0.2}


def test_a_reference_without_a_run_under_the_seeds_beside_it_is_left_out(results: Results) -> None:
    references(results, "one", range(2))
    for seed, status in ((1, "done"), (0, "failed"), (7, "done")):
        results.run("one", "iprm", seed, status=status)
    results.run("one", "bss", 7)
    parts = read(results)
    beside = parts.planned[parts.planned["label"].eq("iprm")]
    assert {name: rows["seed"].tolist() for name, rows in parts.reference_rows("digits", beside).items()} == {
        "joint": [1],
        "joint + unimodal losses": [1],
    }
    assert parts.reference_rows("digits", parts.planned[parts.planned["label"].eq("bss")]) == {}


def test_without_joint_training_the_baseline_is_empty_but_has_the_columns_of_the_runs(results: Results) -> None:
    results.run("one", "iprm", 0)
    rows = load(results.path / "one")
    parts = Parts(rows)
    assert parts.runs is rows
    assert len(parts.baseline) == 0
    assert list(parts.baseline) == list(rows)


def test_of_equal_configurations_the_first_is_chosen(results: Results) -> None:
    for alpha in (0.3, 0.1, 0.2):
        results.run("one", "iprm", 0, {"multi": 0.4 if alpha == 0.3 else 0.6}, values={"alpha": alpha})
    best = chosen_run(load(results.path / "one"))
    assert best is not None
    assert best["vary.alpha"] == 0.1


def test_a_pair_of_values_that_nothing_finished_is_a_hole_in_the_table(results: Results) -> None:
    for a, b, seeds in ((1, 1, 2), (1, 2, 1), (2, 2, 1)):
        for seed in range(seeds):
            results.run("one", "bss", seed, {"multi": 0.5 + seed / 10}, values={"a": a, "b": b})
    results.run("one", "bss", 0, values={"a": 2, "b": 1}, status="failed")
    (grid,) = read(results).grids
    means, counts = means_and_counts(grid.rows, (grid.axes[0], grid.axes[1]), "test_accuracy")
    assert counts.tolist() == [[2, 0], [1, 1]]
    assert means[0, 0] == pytest.approx(0.55)
    assert np.isnan(means[0, 1])
    assert means[1] == pytest.approx([0.5, 0.5])


def test_a_searched_method_is_the_baseline_where_it_is_joint_training(tmp_path: Path) -> None:
    results, plain = Results(tmp_path), {"unimodal_loss_weight": 0.0}
    results.sweep("one")
    for number, level in enumerate((0.6, 0.7)):
        values = {"train.lr": 0.1 * (1 + number)}
        results.run("one", "joint", 0, {"multi": level}, values=values, number=number, hyperparameters=plain)
        results.run("one", "iprm", 0, {"multi": level}, values=values, number=number)
    values = {"train.lr": 0.2}
    for method in ("joint", "iprm"):
        hyperparameters = plain if method == "joint" else None
        results.run(
            "one", method, 100, {"multi": 0.7}, values=values, number=1, role="report", hyperparameters=hyperparameters
        )
    found = Parts(load(tmp_path / "one")).baseline
    assert found[["method", "seed", "role"]].to_numpy().tolist() == [["joint", 0, "sweep"], ["joint", 100, "report"]]
