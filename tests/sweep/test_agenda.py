"""The agenda hands out every run once, absorbs what the store holds, and waits where it must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from samples import make_epoch, make_plan

from sweep.engine.agenda import Agenda, Listed, Nothing, Task, mean_metric
from sweep.records import FinalRecord, IndexEntry
from sweep.store import Store


class Driver:
    """An agenda whose runs are ended by hand."""

    def __init__(self, folder: Path, force: bool = False, **keys: Any) -> None:
        self.plan, self.store = make_plan(folder, **keys), Store(folder / "results")
        self.index: list[IndexEntry] = []
        self.ended: list[int] = []
        sources = [Listed(study.configurations) for study in self.plan.studies]
        self.agenda = Agenda(
            self.plan,
            self.store,
            sources,
            self.index.append,
            lambda configuration, trained, outcomes: self.ended.append(len(trained)),
            force,
        )

    def end(self, task: Task, value: float = 0.5, status: str = "done") -> None:
        final = FinalRecord(status=status, metrics={"validation_accuracy": value})  # type: ignore[arg-type]
        folder = self.store.run(task.hash)
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.commit(final)
        self.agenda.finish(task.hash, final)

    def run_all(self, values: dict[float, float] | None = None) -> list[Task]:
        done = []
        while isinstance(task := self.agenda.next(), Task):
            self.end(task, (values or {}).get(task.configuration.values.get("alpha"), 0.5))
            done.append(task)
        assert task is Nothing.EVER
        return done


GRID = {"vary": {"alpha": {"grid": [0.1, 0.5, 0.9]}}}


def test_every_run_of_a_grid_is_handed_out_once(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **GRID)
    done = driver.run_all()
    assert [(t.configuration.values["alpha"], t.run.seed) for t in done] == [
        (alpha, seed) for alpha in (0.1, 0.5, 0.9) for seed in (0, 1)
    ]
    assert len({t.hash for t in done}) == 6
    assert (driver.agenda.tally.done, driver.agenda.tally.kept) == (6, 0)
    assert driver.agenda.complete
    assert driver.ended == [2, 2, 2]
    assert [(e.values, e.seed, e.role) for e in driver.index][:2] == [
        ({"alpha": 0.1}, 0, "sweep"),
        ({"alpha": 0.1}, 1, "sweep"),
    ]


def test_running_again_is_nothing_to_do_and_extending_runs_the_new_points_only(tmp_path: Path) -> None:
    Driver(tmp_path, **GRID).run_all()
    again = Driver(tmp_path, **GRID)
    assert again.agenda.idle()
    assert (again.agenda.tally.done, again.agenda.tally.kept) == (6, 6)
    extended = Driver(tmp_path, vary={"alpha": {"grid": [0.1, 0.3, 0.9]}})
    assert [t.configuration.values["alpha"] for t in extended.run_all()] == [0.3, 0.3]
    more_seeds = Driver(tmp_path, **GRID | {"seeds": [0, 1, 2]})
    assert [t.run.seed for t in more_seeds.run_all()] == [2, 2, 2]
    assert len(Driver(tmp_path, **GRID | {"epochs": 4}).run_all()) == 6


def test_force_trains_everything_once_more(tmp_path: Path) -> None:
    Driver(tmp_path, **GRID).run_all()
    assert len(Driver(tmp_path, force=True, **GRID).run_all()) == 6


def test_looking_ahead_loses_no_task(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **GRID)
    assert not driver.agenda.idle()
    assert not driver.agenda.idle()
    assert len(driver.run_all()) == 6


def test_failures_are_tried_again_as_often_as_retries_allow_and_again_by_the_next_driver(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=[0], retries=1)
    for _ in range(2):
        task = driver.agenda.next()
        assert isinstance(task, Task)
        driver.end(task, status="failed")
    assert driver.agenda.next() is Nothing.EVER
    assert driver.agenda.tally.failed == 1
    later = Driver(tmp_path, seeds=[0], retries=1)
    assert len(later.run_all()) == 1
    assert later.agenda.tally.failed == 0


def test_a_diverged_run_stands(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=[0])
    task = driver.agenda.next()
    assert isinstance(task, Task)
    driver.end(task, status="diverged")
    assert Driver(tmp_path, seeds=[0]).agenda.idle()


def test_a_run_that_another_driver_trains_is_waited_for(tmp_path: Path) -> None:
    driver, other = Driver(tmp_path, seeds=[0]), Driver(tmp_path, seeds=[0])
    theirs = other.agenda.next()
    assert isinstance(theirs, Task)
    assert driver.agenda.next() is Nothing.YET
    other.end(theirs)
    assert driver.agenda.next() is Nothing.EVER
    assert driver.agenda.tally.kept == 1


def test_what_an_interrupted_driver_held_is_free_again(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=[0])
    assert isinstance(driver.agenda.next(), Task)
    driver.agenda.abandon()
    assert driver.agenda.next() is Nothing.EVER
    assert not driver.agenda.complete
    assert len(Driver(tmp_path, seeds=[0]).run_all()) == 1


def test_references_are_part_of_a_sweep_and_sweeps_share_runs(tmp_path: Path) -> None:
    driver = Driver(tmp_path, references=True, seeds=[0], **GRID)
    done = driver.run_all()
    assert sorted(t.configuration.label for t in done) == ["iprm"] * 3 + ["joint", "joint + unimodal losses"]
    chosen = Driver(tmp_path, points=[{"alpha": 0.1}, {"alpha": 0.1, "ema": "on"}], seeds=[0])
    assert len(chosen.run_all()) == 0
    assert len(chosen.index) == 1


def test_the_best_configuration_and_the_references_run_under_report_seeds(tmp_path: Path) -> None:
    driver = Driver(tmp_path, references=True, report_seeds=[7, 8], **GRID)
    done = driver.run_all({0.1: 0.3, 0.5: 0.9, 0.9: 0.6})
    late = [t for t in done if t.configuration.role == "report"]
    assert [t.run.seed for t in late] == [7, 8] * 3
    assert done[-6:] == late
    assert {(t.configuration.label, t.configuration.values.get("alpha")) for t in late} == {
        ("joint", None), ("joint + unimodal losses", None), ("iprm", 0.5)
    }  # fmt: skip


def test_means_over_different_numbers_of_seeds_are_never_compared() -> None:
    done = [FinalRecord(status="done", metrics={"a": v}) for v in (0.2, 0.4)]
    assert mean_metric(done, "a", 2) == pytest.approx(0.3)
    assert mean_metric(done, "a", 3) is None
    assert mean_metric([*done, FinalRecord(status="diverged")], "a", 3) is None


def test_a_group_is_all_ready_seeds_of_one_configuration(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **GRID)
    groups = []
    while not isinstance(group := driver.agenda.next_group(), Nothing):
        groups.append(group)
        for task in group:
            driver.end(task)
    assert [[t.run.seed for t in group] for group in groups] == [[0, 1]] * 3


def stopped_at(driver: Driver, task: Task, values: list[float]) -> int | None:
    """Report values epoch by epoch; the epoch at which the rule stops the run."""
    folder = driver.store.run(task.hash)
    folder.path.mkdir(parents=True, exist_ok=True)
    for epoch, value in enumerate(values, start=1):
        folder.append(make_epoch(epoch).model_copy(update={"metrics": {"validation_accuracy": value}}))
        if driver.agenda.should_stop(task.hash, epoch, value):
            driver.end(task, value, status="pruned")
            return epoch
    driver.end(task, values[-1])
    return None


def test_early_stopping_looks_at_the_first_seed_and_a_pruned_configuration_has_no_further_seeds(tmp_path: Path) -> None:
    keys = {
        "vary": {"alpha": {"grid": [0.1, 0.3, 0.5, 0.7, 0.9]}},
        "scheduler": {"name": "asha", "grace": 1, "reduction": 2},
        "epochs": 4,
    }
    driver = Driver(tmp_path, **keys)
    seen: dict[float, list[int]] = {}
    while isinstance(task := driver.agenda.next(), Task):
        alpha = task.configuration.values["alpha"]
        seen.setdefault(alpha, []).append(task.run.seed)
        assert task.stoppable is (task.run.seed == 0)
        # Falling quality: each later configuration is worse at every epoch.
        stopped = stopped_at(driver, task, [1 - alpha] * 4)
        assert (stopped is None) is (alpha == 0.1)
    assert seen == {0.1: [0, 1], 0.3: [0], 0.5: [0], 0.7: [0], 0.9: [0]}
    assert (driver.agenda.tally.done, driver.agenda.tally.pruned) == (2, 4)

    again = Driver(tmp_path, **keys)
    assert again.agenda.idle()
    assert again.agenda.tally.pruned == 4
    without = Driver(tmp_path, **{k: v for k, v in keys.items() if k != "scheduler"})
    assert len(without.run_all()) == 8


def test_the_median_rule_stops_what_is_below_the_median(tmp_path: Path) -> None:
    driver = Driver(
        tmp_path, seeds=[0], epochs=4, vary={"alpha": {"grid": [0.1, 0.2, 0.3, 0.4, 0.9, 0.05]}},
        scheduler={"name": "median", "grace": 1},
    )  # fmt: skip
    stops = {}
    while isinstance(task := driver.agenda.next(), Task):
        stops[task.configuration.values["alpha"]] = stopped_at(
            driver, task, [1 - task.configuration.values["alpha"]] * 4
        )
    assert stops == {0.1: None, 0.2: None, 0.3: None, 0.4: None, 0.9: 1, 0.05: None}


def test_a_spent_budget_starts_no_further_run(tmp_path: Path) -> None:
    driver = Driver(tmp_path, budget={"hours": 1e-9}, **GRID)
    assert driver.agenda.next() is Nothing.EVER
    assert driver.agenda.complete
