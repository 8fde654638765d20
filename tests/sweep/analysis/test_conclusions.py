"""Conclusions: sentences on hyperparameters, choices, fronts and differences to joint training."""

from __future__ import annotations

from pathlib import Path

from support.synthetic_results import Results, alpha_sweep, noisy, pareto_search

from sweep.analysis.completeness import raced_out_seeds, read_request
from sweep.analysis.conclusions import conclusions, name_with_role, points_text
from sweep.analysis.fronts import pareto_fronts
from sweep.analysis.parts import Parts
from sweep.results.tables import load


def test_conclusions_name_the_hyperparameter_and_the_comparison(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    first, second = conclusions(Parts(load(tmp_path / "iprm-alpha")))
    assert first.startswith("iprm, α (alpha) on digits: ")
    assert second.startswith("Of 10 configurations compared with joint training")


def test_a_search_that_raced_says_what_its_own_choice_reaches(tmp_path: Path) -> None:
    path = pareto_search(tmp_path).path
    (sentence, *_) = conclusions(Parts(load(path / "two")))
    assert "the search chose alpha=0 with" in sentence
    assert "under 3 fresh seeds" in sentence


def test_a_front_is_concluded_with_its_reach(tmp_path: Path) -> None:
    folder = pareto_search(tmp_path).path / "two"
    parts, request = Parts(load(folder)), read_request(folder)
    found = pareto_fronts(parts, request.objectives, request.seeds, raced_out_seeds(folder))
    first = conclusions(parts, found)[0]
    assert first.startswith("iprm on digits: 3 of 4 configurations with all seeds are beaten by none; on that front")
    assert "validation imbalance (%) from 10.0 to 40.0" in first


def test_a_value_that_was_stopped_early_is_left_out_and_named(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for alpha in (0.1, 0.2, 0.3):
        for seed in range(3):
            status = "pruned" if alpha == 0.3 else "done"
            results.run("one", "iprm", seed, noisy(seed, 0.9 - alpha, 0.8, 0.5), values={"alpha": alpha}, status=status)
    assert "1 value was stopped early and left out" in conclusions(Parts(load(tmp_path / "one")))[0]


def test_names_say_the_role_and_points_their_sign() -> None:
    row = {"label": "iprm", "point": "alpha=0.1", "role": "report"}
    assert name_with_role(row) == "iprm: alpha=0.1 (fresh seeds)"
    assert name_with_role({**row, "point": "", "role": "reference"}) == "iprm (reference)"
    assert [points_text(value) for value in (0.0123, -0.5, float("nan"))] == ["+1.23", "-50.00", "–"]
