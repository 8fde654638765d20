"""Samplers of Optuna, and the form in which it holds a value."""

from __future__ import annotations

from pathlib import Path

import optuna
from support.hand_driven_search import SPACE
from support.small_runs import make_plan

from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform
from sweep.search.samplers import build_sampler, distribution


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


def test_tpe_models_the_parts_of_a_conditional_space_in_groups(tmp_path: Path) -> None:
    plain = make_plan(tmp_path, vary=SPACE, search={"algorithm": "tpe", "configurations": 3}).searches[0]
    chain = make_plan(tmp_path, method="lfa", vary=CHAIN, search={"algorithm": "tpe", "configurations": 3}).searches[0]
    assert (plain.space.conditional, chain.space.conditional) == (False, True)
    for found, grouped in ((plain, False), (chain, True)):
        assert found.sweep.search
        assert build_sampler(found.sweep.search, found.space, 5)._group is grouped
