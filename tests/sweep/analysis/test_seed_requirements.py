"""Seeds that a difference needs, from a sweep's own noise."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from support.synthetic_results import Results, alpha_sweep, two_splits

from sweep.analysis.many_to_one import detectable_difference, seeds_needed
from sweep.analysis.parts import Parts
from sweep.analysis.seed_requirements import SeedRequirement, seed_requirements
from sweep.results.tables import load


def test_a_requirement_is_that_of_the_noise_of_the_sweep(tmp_path: Path) -> None:
    alpha_sweep(tmp_path, range(4), failing=False)
    (found,) = seed_requirements(Parts(load(tmp_path / "iprm-alpha")), 0.01)
    assert (found.dataset, found.comparisons, found.seeds) == (
        "digits",
        8,
        4,
    )  # as far from 0.7 below as above: equal, so they count once
    assert 0.003 < found.noise < 0.01  # half of a point a run, beyond what the seed shares
    assert found.detectable == detectable_difference(found.noise, 4, 8)
    assert found.needed == seeds_needed(0.01, found.noise, 8)
    assert f"one of 1 points needs {found.needed} seeds" in found.sentence()


def test_a_sweep_without_joint_training_or_with_one_seed_knows_no_noise(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0)
    assert seed_requirements(Parts(load(tmp_path / "one")), 0.01) == []
    results.run("one", "joint", 0, role="reference")
    assert seed_requirements(Parts(load(tmp_path / "one")), 0.01) == []


@pytest.mark.parametrize(
    ("detectable", "needed", "said"),
    [
        (0.04, 61, "With 5 seeds a difference of 4.0 points is found with 80 % probability; one of 1 points needs 61"),
        (
            math.inf,
            None,
            "With 5 seeds no difference at all is found with 80 % probability; one of 1 points needs more",
        ),
    ],
)
def test_a_requirement_is_said_plainly(detectable: float, needed: int | None, said: str) -> None:
    found = SeedRequirement("digits", "test accuracy (%)", 1, 5, 0.012, detectable, 0.01, needed)
    assert found.sentence().startswith("digits: test accuracy of 1 configuration beside joint training; a run scatters")
    assert said in found.sentence()


def test_with_several_splits_these_are_what_is_needed(tmp_path: Path) -> None:
    (found,) = seed_requirements(Parts(two_splits(tmp_path)), 0.02)
    assert (found.over, found.seeds, found.comparisons, found.difference) == ("splits", 2, 4, 0.02)
    assert found.metric == "test accuracy (%)"
    assert found.sentence() == (
        "digits: test accuracy of 4 configurations beside joint training; a mean over seeds scatters by 7.91 points "
        "beyond what its split shares. With 2 splits no difference at all is found with 80 % probability; one of 2 "
        f"points needs {found.needed} splits."
    )


def test_each_dataset_has_a_requirement_of_the_most_seeds_that_are_shared(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for results.dataset, seeds in (("digits", 3), ("av_digits", 2), ("toy", 1)):
        for seed in range(seeds):
            results.run("one", "joint", seed, {"multi": 0.5 + 0.01 * seed})
            results.run("one", "iprm", seed, {"multi": 0.6 + 0.02 * (seed % 2)})
            if seed < 2:
                results.run("one", "bss", seed, {"multi": 0.7 + 0.03 * seed})
    first, second = seed_requirements(Parts(load(tmp_path / "one")), 0.1)
    assert [(each.dataset, each.seeds, each.over) for each in (first, second)] == [
        ("digits", 3, "seeds"),
        ("av_digits", 2, "seeds"),
    ]
    assert first.needed == seeds_needed(0.1, first.noise, first.comparisons)
    assert "a run scatters by" in first.sentence()
    assert "beyond what its seed shares. With 3 seeds" in first.sentence()
    more = replace(first, needed=None)
    assert more.sentence().endswith("one of 10 points needs more than 1000 seeds.")
