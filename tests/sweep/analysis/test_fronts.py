"""Several objectives: the configurations that no other one beats, and the text of their values."""

from __future__ import annotations

from sweep.analysis.fronts import Front, pareto_fronts, value_text
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
