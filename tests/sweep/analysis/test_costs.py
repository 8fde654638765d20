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
