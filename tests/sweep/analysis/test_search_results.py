"""Results of a search, read off its study: trials, the best so far, importances against chance."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.optuna_studies import random_search

from sweep.analysis.search_results import LEAST_TRIALS, importances, search_results


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


def test_the_importance_of_what_matters_exceeds_chance(tmp_path: Path) -> None:
    (found,) = search_results(random_search(tmp_path, 30), "accuracy")
    shares = importances(found)
    assert not isinstance(shares, str)
    assert shares[0].name == "rho"
    assert shares[0].share > shares[0].chance
    assert sum(share.share for share in shares) == pytest.approx(1)


def test_a_sweep_without_a_search_has_no_studies(tmp_path: Path) -> None:
    assert search_results(tmp_path, "accuracy") == []
