"""Results of a search, read off its study: trials, the best so far, importances against chance."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from support.optuna_studies import random_search

from sweep.analysis.search_results import LEAST_TRIALS, SearchResult, importances, search_results
from sweep.search import journal as journal_module

MODULE = import_module("sweep.analysis.search_results")  # the room has a function of this name


@pytest.mark.parametrize(
    ("trials", "level", "word"), [(LEAST_TRIALS, 0.1, "20 finished trials"), (30, 0.0, "same value")]
)
def test_importances_are_refused_without_signal(tmp_path: Path, trials: int, level: float, word: str) -> None:
    (found,) = search_results(random_search(tmp_path, trials, level), "accuracy")
    reason = importances(found)
    assert isinstance(reason, str)
    assert word in reason


def test_a_study_is_read_with_label_dataset_and_objective(tmp_path: Path) -> None:
    (found,) = search_results(random_search(tmp_path, 30), "accuracy")
    assert (found.label, found.dataset, found.objective) == ("igm", "digits", "accuracy")
    assert found.title == "validation accuracy (%)"
    assert not found.is_one_of_several
    assert [len(found.trials(state)) for state in ("COMPLETE", "PRUNED", "FAIL")] == [27, 3, 0]
    assert found.parameters == found.common == ["rho", "scope", "tau"]
    assert found.distribution("scope").choices == ("head", "all")
    values = [found.value(trial) for trial in found.trials("COMPLETE")]
    assert values == [100 * float(trial.value or 0) for trial in found.trials("COMPLETE")]
    assert found.best_so_far([3, 1, 4]).tolist() == [3, 3, 4]


def test_studies_come_in_the_order_of_their_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journals = [tmp_path / f"study-{name}.journal" for name in ("c", "a", "b")]
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter(journals))
    opened = list[str]()

    def open_read_only(journal: Path) -> optuna.storages.InMemoryStorage:
        opened.append(journal.name)
        return optuna.storages.InMemoryStorage()

    monkeypatch.setattr(journal_module, "open_read_only", open_read_only)
    assert search_results(tmp_path, "accuracy") == []
    assert opened == ["study-a.journal", "study-b.journal", "study-c.journal"]


def test_the_importance_of_what_matters_exceeds_chance(tmp_path: Path) -> None:
    (found,) = search_results(random_search(tmp_path, 30), "accuracy")
    shares = importances(found)
    assert not isinstance(shares, str)
    assert shares[0].name == "rho"
    assert shares[0].share > shares[0].chance
    assert sum(share.share for share in shares) == pytest.approx(1)


def test_a_sweep_without_a_search_has_no_studies(tmp_path: Path) -> None:
    assert search_results(tmp_path, "accuracy") == []


# Studies by hand ---------------------------------------------------------------------------------------------------


def study_of(
    *trials: tuple[dict[str, float], list[float]], directions: tuple[str, ...] = ("maximize",)
) -> optuna.Study:
    """A study of these parameters and values; [] for a trial that was pruned."""
    study = optuna.create_study(directions=list(directions))
    for parameters, values in trials:
        distributions = {name: FloatDistribution(0, 10) for name in parameters}
        state = optuna.trial.TrialState.COMPLETE if values else optuna.trial.TrialState.PRUNED
        study.add_trial(
            optuna.create_trial(params=parameters, distributions=distributions, values=values or None, state=state)
        )
    return study


def result(study: optuna.Study, objective: str = "accuracy", position: int = 0) -> SearchResult:
    return SearchResult("igm", "digits", objective, position, study)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "word"), [(LEAST_TRIALS - 1, "there are 19"), (LEAST_TRIALS, "same value")])
def test_as_many_trials_as_are_needed_suffice(count: int, word: str) -> None:
    reason = importances(result(study_of(*[({"a": n / 10, "b": n / 7}, [0.5]) for n in range(count)])))
    assert isinstance(reason, str)
    assert word in reason


def test_two_hyperparameters_of_every_trial_can_be_weighed_and_one_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "PERMUTATIONS", 5)
    trials = [({"a": n / 10, "b": n % 3, **({"c": 1.0} if n else {})}, [n / 100]) for n in range(LEAST_TRIALS)]
    found = importances(result(study_of(*trials)))
    assert not isinstance(found, str)
    assert {each.name for each in found} == {"a", "b"}
    assert all(0 <= each.chance <= 1 for each in found)
    alone = importances(result(study_of(*[({"a": n / 10}, [n / 100]) for n in range(LEAST_TRIALS)])))
    assert isinstance(alone, str)
    assert "Fewer than two" in alone


@pytest.fixture
def _talkative() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    yield
    optuna.logging.set_verbosity(before)


@pytest.mark.usefixtures("_talkative")
def test_weighing_is_silent_and_leaves_optuna_as_talkative_as_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MODULE, "PERMUTATIONS", 2)
    found = result(study_of(*[({"a": n / 10, "b": n % 3}, [n / 100]) for n in range(LEAST_TRIALS)]))
    capsys.readouterr()
    importances(found)
    assert capsys.readouterr().err == ""
    assert optuna.logging.get_verbosity() == optuna.logging.DEBUG


def test_objectives_of_one_study_are_read_by_their_position() -> None:
    study = study_of(({"a": 1.0}, [0.9, 0.2]), ({"b": 2.0}, [0.8, 0.1]), directions=("maximize", "minimize"))
    first, second = result(study), result(study, "imbalance", 1)
    assert first.is_one_of_several
    assert [first.value(trial) for trial in first.trials("COMPLETE")] == [90, 80]
    assert [second.value(trial) for trial in second.trials("COMPLETE")] == pytest.approx([20, 10])
    assert second.best_so_far([3, 1, 4]).tolist() == [3, 1, 1]


def test_parameters_are_those_of_all_trials_that_ended_and_common_those_of_every_finished_one() -> None:
    found = result(study_of(({"b": 1.0}, []), ({"a": 1.0, "c": 2.0}, [0.5]), ({"a": 3.0}, [0.6])))
    assert found.parameters == ["b", "a", "c"]
    assert found.common == ["a"]
    assert found.distribution("b") == FloatDistribution(0, 10)
