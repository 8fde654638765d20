"""The searcher around Optuna: told once a configuration, duplicates for free, resumed without losing a proposal."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import TrialState
from support.hand_driven_search import ALGORITHMS, SPACE, finish, make_search, objective, outcomes, study
from support.small_runs import make_plan

from sweep.plan.configurations import Configuration
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store
from sweep.search import searcher
from sweep.search.journal import open_storage
from sweep.search.proposals import Nothing
from sweep.storage.files import StoreError


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_proposes_within_the_space_and_is_told_every_value(tmp_path: Path, algorithm: str) -> None:
    proposed = finish(make_search(tmp_path, algorithm))
    assert len({c.key for c in proposed}) == 6
    for configuration in proposed:
        assert 0.1 <= configuration.values["alpha"] <= 0.9
        assert 0.001 <= configuration.template.train.lr <= 0.3
        assert configuration.template.hyperparameters["alpha"] == configuration.values["alpha"]
    trials = study(tmp_path).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 6
    assert [t.value for t in trials] == [objective(c) for c in proposed]
    assert [c.number for c in proposed] == list(range(6))


def test_the_declared_defaults_are_tried_first(tmp_path: Path) -> None:
    first = finish(make_search(tmp_path))[0]
    assert first.values == {"alpha": 0.8, "train.lr": first.template.train.lr}
    assert first.template.train.lr == make_plan(tmp_path).studies[0].configurations[0].template.train.lr


@pytest.mark.parametrize("algorithm", ["random", "tpe", "qmc"])
def test_an_interrupted_search_proposes_what_an_uninterrupted_one_does(tmp_path: Path, algorithm: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    expected = [c.key for c in finish(make_search(whole, algorithm))]
    search, seen = make_search(parts, algorithm), []
    for _ in range(2):
        configuration = search.propose()
        assert isinstance(configuration, Configuration)
        search.tell(configuration, outcomes(objective(configuration)))
        seen.append(configuration.key)
    lost = search.propose()
    assert isinstance(lost, Configuration)

    resumed = make_search(parts, algorithm)
    again = finish(resumed)
    # What was told before is proposed again first, to be answered by the store; what was lost follows.
    assert [c.key for c in again] == expected
    assert again[2].key == lost.key
    assert len(study(parts).trials) == 6


def test_duplicates_are_answered_by_the_configuration_they_repeat(tmp_path: Path) -> None:
    search = make_search(tmp_path, "random", configurations=10, vary={"alpha": {"choice": [0.2, 0.5]}})
    first, second = search.propose(), search.propose()
    assert isinstance(first, Configuration)
    assert isinstance(second, Configuration)
    assert first.key != second.key
    assert search.propose() is Nothing.LEFT  # the hundredth repeat in a row: there is nothing else
    for configuration in (first, second):
        search.tell(configuration, outcomes(objective(configuration)))
    assert search.propose() is Nothing.LEFT
    trials = study(tmp_path).trials
    assert all(t.state == TrialState.COMPLETE for t in trials)
    assert {(t.params["alpha"], t.value) for t in trials} == {
        (c.values["alpha"], objective(c)) for c in (first, second)
    }


def test_repeats_count_in_a_row_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searcher, "REPEATS", 6)
    search = make_search(
        tmp_path, "random", configurations=8, vary={"alpha": {"choice": [k / 16 for k in range(1, 9)]}}
    )
    proposed = list(iter(search.propose, Nothing.LEFT))
    repeats = len(study(tmp_path).trials) - len(proposed)
    assert len(proposed) == 8
    assert repeats >= 6  # of which never six followed each other


def test_pruned_and_failed_configurations_are_told_as_such(tmp_path: Path) -> None:
    search = make_search(tmp_path, configurations=3)
    for status in ("pruned", "failed", "done"):
        configuration = search.propose()
        assert isinstance(configuration, Configuration)
        search.tell(configuration, outcomes(0.5, status))
    assert [t.state for t in study(tmp_path).trials] == [TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE]


# Several objectives -----------------------------------------------------------------------------------------------


def test_several_objectives_are_told_each_with_its_direction(tmp_path: Path) -> None:
    search = make_search(tmp_path, "nsga2", configurations=3, objectives=["accuracy", "imbalance", "seconds"])
    ends = [(0.5, 0.1), (0.7, 0.3), (0.6, float("nan"))]
    for accuracy, imbalance in ends:
        configuration = search.propose()
        assert isinstance(configuration, Configuration)
        metrics = {"validation_accuracy": accuracy, "validation_imbalance": imbalance}
        finals = {s: FinalRecord(status="done", metrics=metrics, seconds=10.0 + s) for s in (0, 1)}
        search.tell(configuration, finals)
    found = study(tmp_path)
    assert [direction.name for direction in found.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert [t.values for t in found.trials] == [[0.5, 0.1, 10.5], [0.7, 0.3, 10.5], None]
    assert found.trials[2].state == TrialState.FAIL  # a value that is not a number would stay open for ever


# Conditional spaces -----------------------------------------------------------------------------------------------

CHAIN = {
    "neumann_eta": {"loguniform": [1e-4, 0.05]},
    "inverse": {"choice": ["neumann", "identity"]},
    "strategy": {"choice": ["constant", "learned"]},
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_hyperparameter_is_proposed_only_where_it_exists(tmp_path: Path, algorithm: str) -> None:
    configurations = 12 if algorithm != "gp" else 8
    search = make_search(tmp_path, algorithm, configurations, method="lfa", vary=CHAIN)
    seen = set()
    while isinstance(configuration := search.propose(), Configuration):
        search.tell(configuration, outcomes(0.5))
        names, run = set(configuration.values), configuration.template
        seen.add(frozenset(names))
        learned = configuration.values["strategy"] == "learned"
        assert ("inverse" in names) is learned
        assert ("neumann_eta" in names) is (learned and configuration.values["inverse"] == "neumann")
        if "neumann_eta" not in names:
            assert run.hyperparameters["neumann_eta"] == 0.01
    assert len(seen) == 3
    trials = study(tmp_path, "lfa").trials
    assert {frozenset(t.params) for t in trials} == seen
    # The strategies without a number are one configuration each, however often they are proposed.
    assert sum(len(t.params) < 3 for t in trials) >= 2


# What is tried first ----------------------------------------------------------------------------------------------


def test_points_inside_the_space_are_the_first_proposals_and_told_like_any_other(tmp_path: Path) -> None:
    points = [{"alpha": 0.3, "train.lr": 0.02}, {"alpha": 0.6}, {"alpha": 1.0}]
    keys = {"points": points, "search": {"algorithm": "random", "configurations": 5}}
    planned = make_plan(tmp_path, vary=SPACE, **keys)
    # A point outside the space is run beside the search.
    assert [c.values for c in planned.studies[0].configurations] == [{"alpha": 1.0}]
    proposed = finish(make_search(tmp_path, "random", 5, points=points))
    lr = planned.studies[0].configurations[0].template.train.lr
    assert [c.values for c in proposed][:3] == [
        {"alpha": 0.8, "train.lr": lr},
        {"alpha": 0.3, "train.lr": 0.02},
        {"alpha": 0.6, "train.lr": lr},
    ]
    assert len(proposed) == 5
    assert [t.value for t in study(tmp_path).trials] == [objective(c) for c in proposed]
    # A point that is added later is tried next, before the search goes on.
    more = finish(make_search(tmp_path, "random", 7, points=[*points, {"alpha": 0.2}]))
    assert [c.key for c in more][:5] == [c.key for c in proposed]
    assert more[5].values == {"alpha": 0.2, "train.lr": lr}


# What has changed -------------------------------------------------------------------------------------------------


def test_a_configuration_out_of_the_race_is_told_as_pruned_with_its_values_by_number_of_seeds(tmp_path: Path) -> None:
    search = make_search(tmp_path, configurations=2, racing=True, seeds=[0, 1, 2])
    for values in ([0.9, 0.8, 0.7], [0.5, 0.3]):
        configuration = search.propose()
        assert isinstance(configuration, Configuration)
        ends = [FinalRecord(status="done", metrics={"validation_accuracy": v}) for v in values]
        search.tell(configuration, dict(enumerate(ends)))
    complete, pruned = study(tmp_path).trials
    assert (complete.state, complete.value) == (TrialState.COMPLETE, pytest.approx(0.8))
    assert (pruned.state, pruned.intermediate_values) == (TrialState.PRUNED, {1: 0.5, 2: 0.4})


def test_a_configuration_of_which_a_seed_failed_has_failed_even_where_it_has_fewer_than_asked(tmp_path: Path) -> None:
    search = make_search(tmp_path, configurations=3, racing=True, seeds=[0, 1, 2])
    for statuses in (["done", "failed"], ["failed"], ["done", "done", "diverged"]):
        configuration = search.propose()
        assert isinstance(configuration, Configuration)
        ends = [FinalRecord(status=s, metrics={"validation_accuracy": 0.5}) for s in statuses]  # type: ignore[arg-type]
        search.tell(configuration, dict(enumerate(ends)))
    assert [(t.state, t.intermediate_values) for t in study(tmp_path).trials] == [(TrialState.FAIL, {})] * 3


def test_one_stopped_early_is_told_its_value_at_the_epoch_where_it_was_and_in_a_race_nothing(tmp_path: Path) -> None:
    for racing, steps in ((False, {3: 0.4}), (True, {})):
        folder = tmp_path / str(racing)
        search = make_search(folder, configurations=1, racing=racing)
        configuration = search.propose()
        assert isinstance(configuration, Configuration)
        end = FinalRecord(status="pruned", epochs_trained=3, metrics={"validation_accuracy": 0.4})
        search.tell(configuration, {0: end})
        (trial,) = study(folder).trials
        assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, steps)


def test_a_batch_that_was_interrupted_is_asked_to_its_end_before_any_of_it_is_told(tmp_path: Path) -> None:
    search = make_search(tmp_path / "whole", configurations=6, batch=4)
    assert isinstance(search.propose(), Configuration)
    whole = study(tmp_path / "whole").trials
    assert len(whole) == 4
    content = (tmp_path / "whole/study.journal").read_bytes().splitlines(keepends=True)
    asked = [n for n, line in enumerate(content) if json.loads(line)["op_code"] == JournalOperation.CREATE_TRIAL]
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "study.journal").write_bytes(b"".join(content[: asked[2]]))  # two of four were on record
    make_search(parts, configurations=6, batch=4)
    assert [trial.params for trial in study(parts).trials] == [trial.params for trial in whole]


def test_a_batch_is_told_before_the_next_is_asked_and_the_last_is_no_larger_than_what_is_left(tmp_path: Path) -> None:
    search = make_search(tmp_path, "random", configurations=6, batch=4)
    first = [search.propose() for _ in range(4)]
    assert search.propose() is Nothing.NOW
    assert search.remaining() == 2
    for configuration in first:
        assert isinstance(configuration, Configuration)
        search.tell(configuration, outcomes(0.5))
    assert isinstance(search.propose(), Configuration)
    assert len(study(tmp_path).trials) == 6


def test_where_nothing_new_may_be_proposed_only_what_is_known_is(tmp_path: Path) -> None:
    known = [c.key for c in finish(make_search(tmp_path, configurations=3))]
    search = make_search(tmp_path, configurations=5)
    again = [search.propose(new=False) for _ in range(3)]
    assert [c.key for c in again if isinstance(c, Configuration)] == known
    assert search.propose(new=False) is Nothing.LEFT
    assert search.remaining() == 2
    assert len(study(tmp_path).trials) == 3
    assert isinstance(search.propose(), Configuration)


def test_a_trial_that_others_have_told_does_not_end_the_search(tmp_path: Path) -> None:
    search = make_search(tmp_path, "random")
    configuration = search.propose()
    assert isinstance(configuration, Configuration)
    study(tmp_path).tell(0, 0.1)
    with pytest.warns(UserWarning, match="trial 0 of study s/iprm/digits was told or deleted by another program"):
        search.tell(configuration, outcomes(0.5))
    assert len(finish(search)) == 5


def test_a_study_that_others_have_deleted_is_told(tmp_path: Path) -> None:
    search = make_search(tmp_path, "random")
    configuration = search.propose()
    assert isinstance(configuration, Configuration)
    optuna.delete_study(study_name="s/iprm/digits", storage=open_storage(tmp_path / "study.journal"))
    search.tell(configuration, outcomes(0.5))
    with pytest.raises(StoreError, match="study s/iprm/digits was deleted by another program"):
        search.propose()


def test_a_study_of_which_nothing_was_said_yet_begins_anew(tmp_path: Path) -> None:
    make_search(tmp_path, "random").propose()
    journal = tmp_path / "study.journal"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    assert len(finish(make_search(tmp_path, "random"))) == 6


def test_after_so_many_repeats_in_a_row_nothing_more_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searcher, "REPEATS", 6)
    search = make_search(tmp_path, "random", configurations=10, vary={"alpha": {"choice": [0.2, 0.5]}})
    assert len(list(iter(search.propose, Nothing.LEFT))) == 2
    assert search.remaining() == 0
    values = [trial.params["alpha"] for trial in study(tmp_path).trials]
    last_new = max(values.index(value) for value in set(values))
    assert len(values) - 1 - last_new == 6


def test_of_what_earlier_sweeps_found_as_many_are_tried_as_half_of_the_configurations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [{"alpha": alpha, "train.lr": 0.01} for alpha in (0.11, 0.22, 0.33, 0.44)]
    monkeypatch.setattr(searcher, "warm_start_values", lambda store, study, names: found if names else [])
    proposed = finish(make_search(tmp_path, "random", configurations=7, warm_start=["old"]))
    assert [c.values for c in proposed][1:4] == found[:3]
    assert found[3] not in [c.values for c in proposed]
    assert study(tmp_path).user_attrs["warm_start"] == {"sweeps": ["old"], "values": found[:3]}
    # What a search was told to start from stays, until it is told another sweep.
    monkeypatch.setattr(searcher, "warm_start_values", lambda store, study, names: found[3:])
    make_search(tmp_path, "random", configurations=9, warm_start=["old"])
    assert study(tmp_path).user_attrs["warm_start"]["values"] == found[:3]
    again = make_search(tmp_path, "random", configurations=9, warm_start=["older"])
    assert study(tmp_path).user_attrs["warm_start"] == {"sweeps": ["older"], "values": found[3:]}
    assert [c.values for c in finish(again)][7] == found[3]


def test_listed_configurations_come_first_and_then_a_search_a_study(tmp_path: Path) -> None:
    keys = {"vary": SPACE, "points": [{"alpha": 1.0}], "search": {"algorithm": "random", "configurations": 2}}
    planned, store = make_plan(tmp_path, **keys), Store(tmp_path / "results")
    listed, searched = searcher.proposers(planned, store)
    assert (listed.remaining(), searched.remaining()) == (1, 2)
    assert isinstance(searched, searcher.Search)
    first = listed.propose()
    assert isinstance(first, Configuration)
    assert first.values == {"alpha": 1.0}
    assert isinstance(searched.propose(), Configuration)
    assert (store.sweep("s") / "study.journal").stat().st_size > 0
