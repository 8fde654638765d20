"""Several objectives: the configurations that no other one beats, and the text of their values."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from sweep.analysis.fronts import Front, display_factor, objective_label, pareto_fronts, value_text
from sweep.analysis.parts import Parts


def test_none_beats_the_front_and_fewer_seeds_are_never_on_it(pareto_front: Front) -> None:
    by_point = pareto_front.table.set_index("point")
    assert by_point.index[by_point["front"]].tolist() == ["alpha=0", "alpha=0.1", "alpha=0.2"]
    assert not by_point.loc["alpha=0.3", "front"]
    assert by_point.loc["alpha=0.4", "state"] == "out of the race after 1 seed"
    assert not by_point.loc["alpha=0.4", "ranked"]
    assert pareto_front.lost == 1


def test_a_sweep_that_lacks_an_objective_of_some_runs_ranks_none_of_them(pareto_parts: Parts) -> None:
    runs = pareto_parts.runs.assign(validation_imbalance=float("nan"))
    (found,) = pareto_fronts(Parts(runs), ("accuracy", "imbalance"))
    assert not found.table["ranked"].any()
    assert not found.table["front"].any()


def test_shares_are_written_in_per_cent_and_counts_as_they_are() -> None:
    assert value_text("accuracy", 0.5) == "50.0"
    assert value_text("imbalance", 0.123, 0.01) == "12.3 ± 1.0"
    assert value_text("forward_passes", 12345.6) == "12,346"
    assert value_text("seconds", float("nan")) == "–"


def test_the_front_of_a_study_is_told_with_its_values_and_references(pareto_parts: Parts) -> None:
    (found,) = pareto_fronts(pareto_parts, ("accuracy", "imbalance"), 3)
    assert (found.label, found.dataset, found.objectives) == ("iprm", "digits", ("accuracy", "imbalance"))
    table = found.table.set_index("point")
    assert table["n"].to_dict() == {"alpha=0": 3, "alpha=0.1": 3, "alpha=0.2": 3, "alpha=0.3": 3, "alpha=0.4": 1}
    assert table["imbalance"].to_dict() == pytest.approx(
        {"alpha=0": 0.4, "alpha=0.1": 0.25, "alpha=0.2": 0.1, "alpha=0.3": 0.3, "alpha=0.4": 0.04}
    )
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert table["imbalance_high"]["alpha=0"] == pytest.approx(0.4 + half, abs=1e-6)
    assert table["imbalance_low"]["alpha=0"] == pytest.approx(0.4 - half, abs=1e-6)
    assert list(found.references) == ["joint", "joint + unimodal losses"]
    assert [len(rows) for rows in found.references.values()] == [1, 1]
    assert found.lost == 1


def test_each_split_has_a_front_of_its_own_beside_its_own_references(pareto_parts: Parts) -> None:
    runs = pareto_parts.runs
    both = pd.concat([runs.assign(split=0), runs.assign(split=1, hash="b" + runs["hash"])])
    both.loc[both["split"].eq(1) & both["role"].eq("reference"), "status"] = "failed"
    first, second = pareto_fronts(Parts(both), ("accuracy", "seconds"), 3)
    assert [first.dataset, second.dataset] == ["digits, split 0", "digits, split 1"]
    assert (list(first.references), list(second.references)) == (["joint", "joint + unimodal losses"], [])
    assert first.table["seconds"].tolist() == [3.0] * 5
    assert first.table["front"].tolist() == [True, False, False, False, False]  # all take as long


def test_one_seed_is_enough_to_be_shown(pareto_parts: Parts) -> None:
    runs = pareto_parts.runs
    (found,) = pareto_fronts(Parts(runs[runs["seed"].eq(0)]), ("accuracy", "imbalance"))
    assert found.table["n"].tolist() == [1] * 5
    assert found.table.loc[found.table["front"], "point"].tolist() == ["alpha=0.4"]


def test_objectives_have_names_and_units() -> None:
    assert [objective_label(each) for each in ("accuracy", "macro_f1", "imbalance", "seconds", "peak_memory_mib")] == [
        "validation accuracy (%)",
        "validation macro-F1 (%)",
        "validation imbalance (%)",
        "seconds a run",
        "peak memory (MiB)",
    ]
    assert [display_factor(each) for each in ("map", "seconds")] == [100, 1]
    assert [value_text("seconds", value) for value in (999.96, 1000.0, -1000.0, 12.34)] == [
        "1,000.0",
        "1,000",
        "-1,000",
        "12.3",
    ]
    assert value_text("seconds", 2000.0, 10.0) == "2,000 ± 10"
