"""Choices are made inside a split: what is chosen on one is trained again on that one alone."""

from __future__ import annotations

from pathlib import Path

from support.hand_driven_agenda import Driver

from sweep.engine.tasks import Task


def run_by_split(driver: Driver, best: dict[int, float]) -> list[Task]:
    """End every run, those with the best alpha of their split ahead."""
    done = []
    while isinstance(task := driver.agenda.next(), Task):
        alpha = task.configuration.values.get("alpha")
        driver.end(task, 0.9 if alpha == best[task.run.data["split_seed"]] else 0.5)
        done.append(task)
    return done


def test_each_split_has_its_own_choice_and_report_seeds_stay_on_it(tmp_path: Path) -> None:
    keys = {"vary": {"alpha": {"grid": [0.1, 0.5]}}, "splits": [0, 1], "report_seeds": [7], "references": False}
    driver = Driver(tmp_path, **keys)
    done = run_by_split(driver, {0: 0.1, 1: 0.5})
    fresh = [task for task in done if task.configuration.role == "report"]
    assert [(t.configuration.values["alpha"], t.run.data["split_seed"]) for t in fresh] == [(0.1, 0), (0.5, 1)]
    assert len(done) == 2 * 2 * 2 + 2
    assert {(entry.split, entry.seed) for entry in driver.index} == {(s, n) for s in (0, 1) for n in (0, 1, 7)}
    assert not run_by_split(Driver(tmp_path, **keys), {0: 0.1, 1: 0.5})


def test_a_race_compares_within_a_split(tmp_path: Path) -> None:
    search = {"algorithm": "random", "configurations": 3, "racing": True}
    keys = {"vary": {"alpha": "auto"}, "search": search, "splits": [0, 1], "seeds": [0, 1, 2], "report_seeds": []}
    driver = Driver(tmp_path, **keys)
    while isinstance(task := driver.agenda.next(), Task):
        # All of split 1 is far below split 0: no reason to leave the race.
        noise = 0.01 * task.run.seed
        driver.end(task, (0.9 if task.run.data["split_seed"] == 0 else 0.2) + noise)
    assert len(driver.index) == 2 * 3 * 3
