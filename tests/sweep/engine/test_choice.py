"""The choice is made among what has all its seeds, one best (or one front) a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from support.small_runs import make_plan, make_run

from sweep.engine.choice import Choice, for_report
from sweep.plan.configurations import Configuration, Role
from sweep.runs.records import FinalRecord


def configuration(name: str, label: str = "iprm", role: Role = "sweep", number: int | None = None) -> Configuration:
    return Configuration(label, {"name": name}, make_run(), role, number)


def outcomes(*values: float, status: str = "done", **metrics: float) -> dict[int, FinalRecord]:
    return {
        seed: FinalRecord(status=status, metrics={"validation_accuracy": value, **metrics})  # type: ignore[arg-type]
        for seed, value in enumerate(values)
    }


def names(choice: Choice) -> list[Any]:
    return [best.values["name"] for best in choice.best()]


def make_choice(folder: Path, **keys: Any) -> Choice:
    return Choice(make_plan(folder, **keys).sweep)


def test_the_best_mean_of_each_study_is_chosen(tmp_path: Path) -> None:
    choice = make_choice(tmp_path)
    choice.add(0, configuration("a"), outcomes(0.9, 0.1))
    choice.add(1, configuration("b"), outcomes(0.6, 0.6))
    choice.add(2, configuration("c", label="other"), outcomes(0.2, 0.2))
    assert names(choice) == ["b", "c"]


def test_severities_are_no_choices_and_each_has_its_own(tmp_path: Path) -> None:
    choice = make_choice(tmp_path)
    noise = "data.digits.corrupt.profile.noise"
    for position, (name, severity, value) in enumerate([("a", 0, 0.9), ("b", 0, 0.8), ("a", 4, 0.2), ("b", 4, 0.3)]):
        found = replace(configuration(name), values={"name": name, noise: severity})
        choice.add(position, found, outcomes(value, value))
    assert [(best.values["name"], best.values[noise]) for best in choice.best()] == [("a", 0), ("b", 4)]


def test_one_without_all_its_seeds_is_never_chosen(tmp_path: Path) -> None:
    choice = make_choice(tmp_path)
    choice.add(0, configuration("lucky"), outcomes(0.99))
    choice.add(1, configuration("failed"), outcomes(0.99, 0.99, status="failed"))
    choice.add(2, configuration("whole"), outcomes(0.5, 0.5))
    assert names(choice) == ["whole"]


def test_of_ties_the_first_proposed_is_chosen_whichever_ended_first(tmp_path: Path) -> None:
    choice = make_choice(tmp_path)
    choice.add(5, configuration("later"), outcomes(0.5, 0.5))
    choice.add(2, configuration("earlier"), outcomes(0.5, 0.5))
    assert names(choice) == ["earlier"]


def test_fixed_references_and_reports_are_no_candidates_but_searched_and_varied_ones_are(tmp_path: Path) -> None:
    choice = make_choice(tmp_path)
    choice.add(1, configuration("again", role="report"), outcomes(0.9, 0.9))
    fixed = replace(configuration("fixed", label="joint", role="reference"), values={})
    choice.add(0, fixed, outcomes(0.9, 0.9))
    choice.add(2, configuration("searched", label="joint", role="reference", number=4), outcomes(0.3, 0.3))
    choice.add(3, configuration("varied", label="other", role="reference"), outcomes(0.3, 0.3))
    assert names(choice) == ["searched", "varied"]


def test_with_several_objectives_the_front_is_chosen(tmp_path: Path) -> None:
    search = {"algorithm": "random", "configurations": 4, "objectives": ["accuracy", "imbalance"]}
    choice = make_choice(tmp_path, search=search, vary={"alpha": {"uniform": [0.1, 0.9]}})
    for position, (accuracy, imbalance) in enumerate([(0.5, 0.1), (0.9, 0.4), (0.8, 0.5)]):
        ended = outcomes(accuracy, accuracy, validation_imbalance=imbalance)
        choice.add(position, configuration(str(position), number=position), ended)
    assert names(choice) == ["0", "1"]


def test_what_is_retrained_keeps_all_but_its_role() -> None:
    chosen = configuration("a", number=3)
    (again,) = for_report([chosen])
    assert (again.role, again.number, again.values, again.key) == ("report", 3, {"name": "a"}, chosen.key)
