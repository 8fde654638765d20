"""Costs: seconds of an epoch over those of joint training, run by run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.synthetic_results import Results

from sweep.analysis.costs import SECONDS, cost_ratios, costs
from sweep.analysis.parts import Parts
from sweep.results.tables import load


def compared(folder: Path, *methods: str) -> Parts:
    """Two seeds of each method; an epoch of the method at place k takes k + 1 seconds, of seed 1 twice as long."""
    results = Results(folder)
    results.sweep("one")
    for place, method in enumerate(methods):
        for seed in range(2):
            results.run("one", method, seed, {"multi": 0.7 + 0.05 * place, "left": 0.6, "profile": 0.3})
    runs = load(folder / "one")
    return Parts(runs.assign(**{SECONDS: (1.0 + runs["method"].map(methods.index)) * (1 + runs["seed"])}))


def test_each_run_is_divided_by_that_of_joint_training_under_its_seed(tmp_path: Path) -> None:
    parts = compared(tmp_path, "joint", "iprm", "bss")
    assert cost_ratios(parts.runs, parts.baseline).tolist() == [1, 1, 2, 2, 3, 3]
    only_first = parts.baseline[parts.baseline["seed"].eq(0)]
    ratios = cost_ratios(parts.runs, only_first)
    assert ratios[parts.runs["seed"].eq(0)].tolist() == [1, 2, 3]
    assert ratios[parts.runs["seed"].eq(1)].isna().all()


def test_the_front_is_cheap_or_accurate(tmp_path: Path) -> None:
    parts = compared(tmp_path, "joint", "iprm", "bss")
    parts = Parts(parts.runs.assign(test_accuracy=parts.runs["method"].map({"joint": 0.7, "iprm": 0.9, "bss": 0.8})))
    (found,) = costs(parts, parts.points, "accuracy")
    table = found.table.set_index("label")
    assert table["cost"].to_dict() == pytest.approx({"joint": 1, "iprm": 2, "bss": 3})
    assert table["front"].to_dict() == {"joint": True, "iprm": True, "bss": False}
    assert table["baseline"].to_dict() == {"joint": True, "iprm": False, "bss": False}


def test_without_joint_training_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    parts = compared(tmp_path, "iprm", "bss")
    assert costs(parts, parts.points, "accuracy") == []


def test_means_of_costs_have_the_intervals_of_quantities_and_of_shares(tmp_path: Path) -> None:
    parts = compared(tmp_path, "joint", "iprm")
    runs = parts.runs.assign(**{SECONDS: [1.0, 1.0, 2.0, 4.0], "test_accuracy": [0.7, 0.72, 0.99, 1.0]})
    (found,) = costs(Parts(runs), Parts(runs).points, "accuracy")
    assert (found.dataset, found.column) == ("digits", "test_accuracy")
    table = found.table.set_index("label")
    assert table["cost"].to_dict() == {"joint": 1, "iprm": 3}
    # t(1) is 12.7062; a share ends at 1, a cost does not.
    assert table["cost_high"]["iprm"] == pytest.approx(3 + 12.7062, abs=1e-4)
    assert table["cost_low"]["iprm"] == pytest.approx(3 - 12.7062, abs=1e-4)
    assert table["accuracy_high"]["iprm"] == 1
    assert table["accuracy_low"]["iprm"] == pytest.approx(0.995 - 12.7062 * 0.005, abs=1e-5)


def test_references_stand_beside_their_own_dataset_and_seeds(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for results.dataset, seeds in (("digits", (0, 1)), ("av_digits", (2, 3))):
        for seed in seeds:
            for method, role in (("joint", "reference"), ("iprm", "sweep"), ("bss", "sweep")):
                results.run("one", method, seed, {"multi": 0.6}, role=role)
    runs = load(tmp_path / "one")
    parts = Parts(runs[~(runs["method"].eq("bss") & runs["dataset"].eq("digits"))])
    first, second = costs(parts, parts.planned, "accuracy")
    assert [each.dataset for each in (first, second)] == ["digits", "av_digits"]
    assert [each.table["label"].tolist() for each in (first, second)] == [["iprm", "joint"], ["iprm", "bss", "joint"]]
    assert (first.table["cost"] == 1).all()
    alone = parts.planned[parts.planned["seed"].isin([0, 1])]
    assert costs(Parts(runs.assign(seed=7)), alone, "accuracy") == []
    assert costs(parts, parts.planned.iloc[:0], "accuracy") == []
    assert costs(parts, parts.planned.drop(columns=SECONDS), "accuracy") == []
