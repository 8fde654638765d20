"""Samplers of Optuna, and the form in which it holds a value."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from scipy.stats.qmc import Sobol
from support.hand_driven_search import SPACE
from support.small_runs import make_plan

from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform
from sweep.config import SearchSpec
from sweep.search.samplers import (
    SobolSampler,
    _at,
    as_optuna,
    build_sampler,
    distribution,
    distributions,
    from_optuna,
    sampler_seed,
    suggest,
)


def test_distributions() -> None:
    assert distribution(Uniform(0.0, 1.0)) == optuna.distributions.FloatDistribution(0.0, 1.0)
    assert distribution(LogUniform(0.1, 1.0)) == optuna.distributions.FloatDistribution(0.1, 1.0, log=True)
    assert distribution(Integer(1, 8, log=True)) == optuna.distributions.IntDistribution(1, 8, log=True)
    assert distribution(Choice(("a", None, [1, 2]))) == optuna.distributions.CategoricalDistribution(
        ("a", None, "[1, 2]")
    )


CHAIN = {
    "neumann_eta": {"loguniform": [1e-4, 0.05]},
    "inverse": {"choice": ["neumann", "identity"]},
    "strategy": {"choice": ["constant", "learned"]},
}


def test_what_is_asked_is_of_the_kind_of_its_range() -> None:
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    assert type(suggest(trial, "count", Integer(1, 8))) is int
    assert type(suggest(trial, "share", Uniform(0.0, 8.0))) is float
    assert suggest(trial, "kind", Choice(([1, 2],))) == [1, 2]
    assert trial.distributions["count"] == optuna.distributions.IntDistribution(1, 8)


def test_tpe_models_the_parts_of_a_conditional_space_in_groups(tmp_path: Path) -> None:
    plain = make_plan(tmp_path, vary=SPACE, search={"algorithm": "tpe", "configurations": 3}).searches[0]
    chain = make_plan(tmp_path, method="lfa", vary=CHAIN, search={"algorithm": "tpe", "configurations": 3}).searches[0]
    assert (plain.space.conditional, chain.space.conditional) == (False, True)
    for found, grouped in ((plain, False), (chain, True)):
        assert found.sweep.search
        assert build_sampler(found.sweep.search, found.space, 5)._group is grouped


def spec(algorithm: str, **keys: object) -> SearchSpec:
    return SearchSpec.model_validate({"algorithm": algorithm, "configurations": 20, **keys})


def test_a_distribution_of_whole_numbers_is_logarithmic_only_where_the_range_is() -> None:
    assert distribution(Integer(1, 8)) == optuna.distributions.IntDistribution(1, 8)
    assert distribution(Integer(1, 8)) != distribution(Integer(1, 8, log=True))


def test_each_proposal_has_a_seed_of_its_own_and_a_sequence_one_for_all() -> None:
    assert len({sampler_seed(spec("tpe"), number) for number in range(20)}) == 20
    assert sampler_seed(spec("tpe"), 3) != sampler_seed(spec("tpe", seed=1), 3)
    assert len({sampler_seed(spec("qmc"), number) for number in range(20)}) == 1
    assert all(0 <= sampler_seed(spec("random"), number) < 2**32 for number in range(20))


@pytest.mark.parametrize(("configurations", "population"), [(3, 2), (20, 10), (1000, 50)])
def test_a_generation_is_half_of_the_configurations_at_most_fifty(
    tmp_path: Path, configurations: int, population: int
) -> None:
    search = {"algorithm": "nsga2", "configurations": configurations}
    (study,) = make_plan(tmp_path, vary=SPACE, search=search).searches
    assert study.sweep.search
    assert build_sampler(study.sweep.search, study.space, 0).population_size == population


def test_a_way_through_a_range_has_its_middle_in_the_middle() -> None:
    assert [_at(share, distribution(Uniform(1.0, 3.0))) for share in (0.0, 0.25, 0.5)] == [1.0, 1.5, 2.0]
    found = [_at(share, distribution(LogUniform(0.01, 1.0))) for share in (0.0, 0.5)]
    assert found == pytest.approx([0.01, 0.1])
    assert found[0] >= 0.01
    # Each of three whole numbers has a third of the way.
    thirds = [_at(share, distribution(Integer(1, 3))) for share in (0.0, 0.33, 0.34, 0.66, 0.67, 0.999999)]
    assert thirds == [1, 1, 2, 2, 3, 3]
    assert [_at(share, distribution(Choice(("a", "b")))) for share in (0.0, 0.49, 0.5, 0.99)] == ["a", "a", "b", "b"]


def test_points_are_those_of_one_scrambled_sequence_over_all_that_varies() -> None:
    space = distributions({"x": Uniform(0.0, 1.0), "fixed": Choice(("only",)), "y": Uniform(0.0, 2.0)})
    study = optuna.create_study()
    expected = Sobol(2, seed=5, scramble=True).random(8)
    for number in range(8):
        sampler, trial = SobolSampler(space, number, 5), study.ask()
        frozen = study.get_trials()[trial.number]
        found = sampler.infer_relative_search_space(study, frozen)
        assert list(found) == ["x", "y"]
        point = sampler.sample_relative(study, frozen, found)
        assert [point["x"], point["y"] / 2] == pytest.approx(expected[number].tolist())
    assert sampler.sample_relative(study, frozen, {}) == {}


def test_what_optuna_cannot_hold_comes_back_as_it_was() -> None:
    choices = Choice(("a", None, [1, 2], {"b": 1}, True, 3))
    for value in choices.values:
        assert from_optuna(choices, as_optuna(value)) == value
    assert from_optuna(Uniform(0.0, 1.0), 0.3) == 0.3
    with pytest.raises(ValueError, match="'c' is no choice"):
        from_optuna(choices, "c")


def test_an_algorithm_without_a_sampler_is_told(tmp_path: Path) -> None:
    (study,) = make_plan(tmp_path, vary=SPACE, search={"algorithm": "random", "configurations": 3}).searches
    with pytest.raises(ValueError, match="no sampler for 'grid'"):
        build_sampler(spec("grid"), study.space, 0)
