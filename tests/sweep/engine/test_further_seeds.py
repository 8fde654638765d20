"""A configuration gets further seeds as long as rule and race leave it in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.small_runs import make_environment, make_epoch, make_plan, make_run

from sweep.config import Sweep
from sweep.engine.further_seeds import FurtherSeeds
from sweep.engine.tasks import Outcomes, Task
from sweep.plan.configurations import Configuration, Role
from sweep.runs.identity import run_hash
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store
from sweep.search.early_stopping import StoppingRule
from sweep.search.racing import Decision, RaceLog

ASHA = {"name": "asha", "grace": 1, "reduction": 2}
RACING = {
    "vary": {"alpha": {"uniform": [0.1, 0.9]}},
    "search": {"algorithm": "random", "configurations": 9, "racing": True},
    "seeds": [0, 1, 2, 3],
}


def make_sweep(folder: Path, **keys: Any) -> Sweep:
    return make_plan(folder, **keys).sweep


def configuration(number: int | None = None, role: Role = "sweep", label: str = "iprm") -> Configuration:
    run = make_run(method="iprm", hyperparameters={"alpha": (number or 0) / 100})
    return Configuration(label, {}, run, role, number)


def task(configured: Configuration, seed: int = 0, stoppable: bool = True) -> Task:
    (run,) = configured.runs([seed])
    return Task(run, f"{configured.label}-{configured.number}-{seed}", configured, stoppable, 0)


def done(*values: float) -> Outcomes:
    return {
        seed: FinalRecord(status="done", metrics={"validation_accuracy": value}) for seed, value in enumerate(values)
    }


def test_without_rule_and_race_all_seeds_begin_at_once(tmp_path: Path) -> None:
    further = FurtherSeeds(make_sweep(tmp_path), None)
    assert not further.stoppable(configuration())
    assert further.first(configuration(), [0, 1, 2]) == 3
    assert further.next(task(configuration(), stoppable=False), done(0.5), waiting=0) == 0


def test_a_rule_lets_the_first_seed_begin_alone_and_then_all_others(tmp_path: Path) -> None:
    further = FurtherSeeds(make_sweep(tmp_path, scheduler=ASHA), None)
    assert further.stoppable(configuration())
    assert further.first(configuration(), [0, 1, 2]) == 1
    assert further.next(task(configuration()), done(0.5), waiting=2) == 2
    fixed = configuration(role="reference")
    assert (further.stoppable(fixed), further.first(fixed, [0, 1])) == (False, 2)


def test_a_worse_run_is_stopped_and_one_of_another_study_is_not_compared_with(tmp_path: Path) -> None:
    further = FurtherSeeds(make_sweep(tmp_path, scheduler=ASHA, epochs=4), None)
    good, bad, other = (task(configuration(1)), task(configuration(2)), task(configuration(3, label="other")))
    assert not any(further.should_stop(good, epoch, 0.9) for epoch in (1, 2, 3, 4))
    further.close(good)
    assert not further.should_stop(other, 1, 0.1)
    assert further.should_stop(bad, 1, 0.1)
    assert not further.should_stop(task(configuration(4), seed=1, stoppable=False), 1, 0.0)


def test_what_an_earlier_driver_trained_is_compared_with(tmp_path: Path) -> None:
    further = FurtherSeeds(make_sweep(tmp_path, scheduler=ASHA, epochs=4), None)
    earlier, folder = task(configuration(1)), Store(tmp_path / "results").run("0123")
    folder.open(earlier.run, make_environment())
    for epoch in (1, 2):
        folder.append(make_epoch(epoch).model_copy(update={"metrics": {"validation_accuracy": 0.9}}))
    further.learn(earlier, folder, ended=True)
    assert further.should_stop(task(configuration(2)), 1, 0.1)


@pytest.mark.parametrize(
    ("stoppable", "ended", "heard"), [(True, True, ["learn", "close"]), (True, False, ["learn"]), (False, True, [])]
)
def test_of_an_earlier_drivers_run_the_rule_hears_the_end_only_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stoppable: bool, ended: bool, heard: list[str]
) -> None:
    further, seen = FurtherSeeds(make_sweep(tmp_path, scheduler=ASHA), None), list[str]()
    monkeypatch.setattr(StoppingRule, "learn", lambda rule, key, judged: seen.append("learn"))
    monkeypatch.setattr(StoppingRule, "close", lambda rule, key: seen.append("close"))
    further.learn(task(configuration(1), stoppable=stoppable), Store(tmp_path / "results").run("0123"), ended)
    assert seen == heard
    further.close(task(configuration(1), stoppable=stoppable))
    assert seen == [*heard, *["close"] * stoppable]


def test_in_a_race_seeds_come_one_by_one_until_the_leader_is_clearly_better(tmp_path: Path) -> None:
    path = tmp_path / "race.jsonl"
    further = FurtherSeeds(make_sweep(tmp_path, **RACING), RaceLog(path, fresh=False))
    leader, loser = configuration(1), configuration(2)
    assert further.first(leader, [0, 1, 2, 3]) == 1
    good = [0.90, 0.91, 0.90, 0.91]
    for seed in range(4):
        waiting = 3 - seed
        assert further.next(task(leader, seed), done(*good[: seed + 1]), waiting) == min(1, waiting)
    assert further.next(task(loser, 0), done(0.2), waiting=3) == 1  # too few degrees of freedom yet
    assert further.next(task(loser, 1), done(0.2, 0.21), waiting=2) == 0
    decision = Decision.model_validate_json(path.read_text().splitlines()[-1])
    assert (decision.stays, decision.leader) == (False, leader.key)
    assert decision.difference == pytest.approx(-0.7)  # 0.205 where the leader has 0.905


def test_what_is_no_proposal_of_the_search_does_not_race(tmp_path: Path) -> None:
    further = FurtherSeeds(make_sweep(tmp_path, **RACING), RaceLog(tmp_path / "race.jsonl", fresh=False))
    for outside in (configuration(), configuration(3, role="report")):
        assert further.first(outside, [0, 1, 2]) == 3
        assert further.next(task(outside), done(0.5), waiting=2) == 2


def test_a_race_for_a_small_value_is_won_by_the_smallest(tmp_path: Path) -> None:
    search = RACING["search"] | {"objectives": ["imbalance"]}
    path = tmp_path / "race.jsonl"
    further = FurtherSeeds(make_sweep(tmp_path, **RACING | {"search": search}), RaceLog(path, fresh=False))

    def ended(*values: float) -> Outcomes:
        return {
            seed: FinalRecord(status="done", metrics={"validation_accuracy": 0.5, "validation_imbalance": value})
            for seed, value in enumerate(values)
        }

    leader, worse, better = configuration(1), configuration(2), configuration(3)
    small = [0.10, 0.11, 0.10, 0.11]
    for seed in range(4):
        further.next(task(leader, seed), ended(*small[: seed + 1]), 3 - seed)
    for seeds, values in ((1, [0.8]), (2, [0.8, 0.81])):
        stays = further.next(task(worse, seeds - 1), ended(*values), 4 - seeds)
    assert stays == 0
    # Negative is worse, in whichever direction the objective is looked for.
    decision = Decision.model_validate_json(path.read_text().splitlines()[-1])
    assert decision.difference == pytest.approx(-0.7)
    for seeds, values in ((1, [0.01]), (2, [0.01, 0.02])):
        stays = further.next(task(better, seeds - 1), ended(*values), 4 - seeds)
    assert stays == 1


def test_the_bracket_of_a_run_does_not_depend_on_the_labels_of_its_data(tmp_path: Path) -> None:
    hyperband = {"name": "hyperband", "grace": 1, "reduction": 2}
    stops = []
    for content in ("labels", "others"):
        further = FurtherSeeds(make_sweep(tmp_path / content, scheduler=hyperband, epochs=8), None)
        for number in range(20):
            one = task(configuration(number))
            run = one.run.model_copy(update={"fingerprint": content})
            one = replace(one, run=run, hash=run_hash(run))
            stops += [next((e for e in range(1, 9) if further.should_stop(one, e, 0.9 - number / 100)), None)]
            further.close(one)
    assert stops[:20] == stops[20:]
    assert len(set(stops)) > 2


def test_the_rule_looks_as_far_as_the_longest_of_the_epochs_that_vary(tmp_path: Path) -> None:
    hyperband = {"name": "hyperband", "grace": 1, "reduction": 3}
    varied = FurtherSeeds(make_sweep(tmp_path, scheduler=hyperband, vary={"epochs": {"grid": [2, 9]}}), None)
    assert len(varied._rule(task(configuration()))._brackets) == 3
    fixed = FurtherSeeds(make_sweep(tmp_path / "fixed", scheduler=hyperband, epochs=3), None)
    assert len(fixed._rule(task(configuration()))._brackets) == 2


def test_the_rule_looks_as_far_as_the_epochs_that_may_be_selected(tmp_path: Path) -> None:
    keys = {"scheduler": {"name": "hyperband", "grace": 1, "reduction": 2}, "epochs": 4}
    brackets = {}
    for method in ("joint", "domfn", "reconboost"):
        planned = make_plan(tmp_path / method, method=method, **keys)
        (chosen,) = planned.studies[0].configurations
        brackets[method] = len(FurtherSeeds(planned.sweep, None)._rule(task(chosen))._brackets)
    # Of four epochs DOMFN offers the three after its pretraining, ReconBoost the last alone.
    assert brackets == {"joint": 3, "domfn": 2, "reconboost": 1}


def test_epochs_that_an_earlier_driver_trained_of_an_open_run_count_once(tmp_path: Path) -> None:
    further = FurtherSeeds(make_sweep(tmp_path, scheduler=ASHA, epochs=4), None)
    resumed, folder = task(configuration(1)), Store(tmp_path / "results").run("0123")
    folder.open(resumed.run, make_environment())
    for epoch in (1, 2):
        folder.append(make_epoch(epoch).model_copy(update={"metrics": {"validation_accuracy": 0.9}}))
    further.learn(resumed, folder, ended=False)
    # Without a checkpoint it begins again: what it is worth now at an epoch that is known is nothing to decide by.
    assert not further.should_stop(resumed, 1, 0.1)
    assert further.should_stop(task(configuration(2)), 1, 0.1)
