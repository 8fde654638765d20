"""The agenda hands out every run once, absorbs what the store holds, and waits where it must."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.hand_driven_agenda import Driver
from support.hand_driven_search import study

from sweep.engine import agenda
from sweep.engine.tasks import Task
from sweep.runs.records import FinalRecord
from sweep.search.proposals import Nothing

BOTH = ["joint", "joint + unimodal losses"]
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


@pytest.mark.parametrize("force", [False, True])
def test_a_race_is_logged_in_the_folder_of_its_sweep_and_anew_where_all_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    logged = list[tuple[Path, bool]]()
    monkeypatch.setattr(agenda, "RaceLog", lambda path, fresh: logged.append((path, fresh)))
    Driver(tmp_path, force, **GRID)
    assert logged == []
    search = {"algorithm": "random", "configurations": 2, "racing": True}
    driver = Driver(tmp_path, force, vary={"alpha": {"uniform": [0.1, 0.9]}}, search=search, seeds=[0, 1])
    assert logged == [(tmp_path / "results" / driver.plan.sweep.name / "race.jsonl", force)]


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
    assert driver.agenda.next() is Nothing.LEFT
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
    assert driver.agenda.next() is Nothing.NOW
    other.end(theirs)
    assert driver.agenda.next() is Nothing.LEFT
    assert driver.agenda.tally.kept == 1


def test_a_run_that_another_driver_gives_up_is_taken_over(tmp_path: Path) -> None:
    driver, other = Driver(tmp_path), Driver(tmp_path)
    theirs = other.next()
    ours = driver.next()
    assert (theirs.run.seed, ours.run.seed) == (0, 1)
    assert driver.agenda.next() is Nothing.NOW
    driver.end(ours)
    assert driver.agenda.next() is Nothing.NOW
    assert not driver.agenda.idle()
    other.agenda.abandon()
    assert driver.next().hash == theirs.hash


def test_a_run_that_another_driver_trains_is_not_waited_for_once_the_budget_is_spent(tmp_path: Path) -> None:
    driver, other = Driver(tmp_path, budget={"runs": 1}), Driver(tmp_path)
    other.next()
    ours = driver.next()
    driver.end(ours)
    assert driver.agenda.next() is Nothing.LEFT
    assert (driver.agenda.complete, driver.agenda.unstarted) == (True, 1)


def test_looking_ahead_says_idle_only_where_nothing_is_left(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=[0])
    assert not driver.agenda.idle()
    assert not driver.agenda.idle()
    task = driver.next()
    assert not driver.agenda.idle()  # it may fail, and come again
    driver.end(task)
    assert driver.agenda.idle()


def test_what_an_interrupted_driver_held_is_free_again(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=[0])
    assert isinstance(driver.agenda.next(), Task)
    driver.agenda.abandon()
    assert driver.agenda.next() is Nothing.LEFT
    assert not driver.agenda.complete
    assert len(Driver(tmp_path, seeds=[0]).run_all()) == 1


def test_references_are_part_of_a_sweep_and_sweeps_share_runs(tmp_path: Path) -> None:
    driver = Driver(tmp_path, references=BOTH, seeds=[0], **GRID)
    done = driver.run_all()
    assert sorted(t.configuration.label for t in done) == ["iprm"] * 3 + ["joint", "joint + unimodal losses"]
    chosen = Driver(tmp_path, points=[{"alpha": 0.1}, {"alpha": 0.1, "ema": "on"}], seeds=[0])
    assert len(chosen.run_all()) == 0
    assert len(chosen.index) == 1


def test_the_best_configuration_and_the_references_run_under_report_seeds(tmp_path: Path) -> None:
    driver = Driver(tmp_path, references=BOTH, report_seeds=[7, 8], **GRID)
    done = driver.run_all({0.1: 0.3, 0.5: 0.9, 0.9: 0.6})
    late = [t for t in done if t.configuration.role == "report"]
    assert [t.run.seed for t in late] == [7, 8] * 3
    assert done[-6:] == late
    assert {(t.configuration.label, t.configuration.values.get("alpha")) for t in late} == {
        ("joint", None), ("joint + unimodal losses", None), ("iprm", 0.5)
    }  # fmt: skip


def test_the_best_of_the_unimodal_models_runs_under_report_seeds(tmp_path: Path) -> None:
    driver = Driver(tmp_path, references=["best unimodal"], report_seeds=[7], seeds=[0], **GRID)
    while isinstance(task := driver.agenda.next(), Task):
        driver.end(task, 0.8 if task.run.hyperparameters.get("modality") == "profile" else 0.5)
    last = {e.label: e.values for e in driver.index if e.role == "report"}
    assert last["best unimodal"] == {"modality": "profile"}


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
        stopped = driver.train(task, [1 - alpha] * 4)
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
        alpha = task.configuration.values["alpha"]
        stops[alpha] = driver.train(task, [1 - alpha] * 4)
    assert stops == {0.1: None, 0.2: None, 0.3: None, 0.4: None, 0.9: 1, 0.05: None}


def test_a_spent_budget_starts_no_further_run(tmp_path: Path) -> None:
    driver = Driver(tmp_path, budget={"hours": 1e-9}, **GRID)
    assert driver.agenda.next() is Nothing.LEFT
    assert driver.agenda.complete


def test_a_spent_budget_says_what_was_not_started_and_the_next_driver_goes_on(tmp_path: Path) -> None:
    keys = GRID | {"budget": {"runs": 4}, "report_seeds": [7]}
    first = Driver(tmp_path, **keys)
    assert len(first.run_all()) == 4
    assert (first.agenda.complete, first.agenda.unstarted) == (True, 2 + 1)
    second = Driver(tmp_path, **keys)
    assert [t.configuration.role for t in second.run_all()] == ["sweep", "sweep", "report"]
    assert (second.agenda.unstarted, second.agenda.tally.kept) == (0, 4)


def test_runs_that_the_store_holds_cost_no_budget_wherever_they_stand(tmp_path: Path) -> None:
    Driver(tmp_path, vary={"alpha": {"grid": [0.9]}}).run_all()
    driver = Driver(tmp_path, **GRID, budget={"runs": 1})
    assert [t.configuration.values["alpha"] for t in driver.run_all()] == [0.1]
    # 0.9, the last of the grid, is part of the table though the budget was spent before.
    assert (driver.agenda.tally.kept, driver.agenda.unstarted) == (2, 3)
    assert len(driver.index) == 6


def test_retries_are_not_charged_to_the_budget_twice(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **GRID, budget={"runs": 2}, retries=1, seeds=[0])
    assert driver.end(driver.next(), status="failed")
    assert [t.configuration.values["alpha"] for t in driver.run_all()] == [0.1, 0.5]
    assert driver.agenda.unstarted == 1


def test_a_search_ends_with_its_budget(tmp_path: Path) -> None:
    keys = {
        "vary": {"alpha": {"uniform": [0.1, 0.9]}},
        "search": {"algorithm": "random", "configurations": 5},
        "budget": {"runs": 4},
        "report_seeds": [7],
    }
    first = Driver(tmp_path, **keys)
    proposed = [t.configuration.number for t in first.run_all()]
    assert proposed == [0, 0, 1, 1]
    assert first.agenda.unstarted == 3 * 2 + 1
    # What was not started has not been proposed, and is on no list.
    assert len(study(tmp_path / "results/s").trials) == 2
    assert [entry.number for entry in first.index] == proposed
    assert [t.configuration.number for t in Driver(tmp_path, **keys).run_all()] == [2, 2, 3, 3]
    assert [t.configuration.role for t in Driver(tmp_path, **keys).run_all()] == ["sweep", "sweep", "report"]


def test_a_failure_that_will_be_tried_again_is_said_so_and_its_reason_kept(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=[0], retries=1)
    task = driver.next()
    assert driver.end(task, status="failed")
    assert driver.store.run(task.hash).failures() == ["a test"]
    assert not driver.end(driver.next(), status="failed")


def test_every_configuration_on_the_front_of_several_objectives_runs_under_report_seeds(tmp_path: Path) -> None:
    keys = {
        "vary": {"alpha": {"uniform": [0.1, 0.9]}},
        "search": {"algorithm": "random", "configurations": 4, "objectives": ["accuracy", "imbalance"]},
        "report_seeds": [7, 8],
    }
    driver = Driver(tmp_path, **keys)
    values = {0: (0.5, 0.1), 1: (0.9, 0.4), 2: (0.8, 0.5), 3: (0.9, 0.4)}
    report = []
    while isinstance(task := driver.agenda.next(), Task):
        accuracy, imbalance = values[task.configuration.number or 0]
        if task.configuration.role == "report":
            report.append((task.configuration.number, task.run.seed))
        driver.end(task, accuracy, validation_imbalance=imbalance)
    assert report == [(0, 7), (0, 8), (1, 7), (1, 8)]


def test_one_objective_other_than_the_metric_chooses(tmp_path: Path) -> None:
    keys = {
        "vary": {"alpha": {"uniform": [0.1, 0.9]}},
        "search": {"algorithm": "random", "configurations": 3, "objectives": ["imbalance"]},
        "report_seeds": [7],
    }
    driver = Driver(tmp_path, **keys)
    while isinstance(task := driver.agenda.next(), Task):
        number = task.configuration.number or 0
        driver.end(task, number / 10, validation_imbalance=abs(number - 1) / 10)
    assert [e.number for e in driver.index if e.role == "report"] == [1]


def test_searched_references_have_the_budget_of_the_method_and_are_chosen_for_report_seeds(tmp_path: Path) -> None:
    keys = {
        "vary": {"alpha": {"uniform": [0.1, 0.9]}, "train.lr": {"loguniform": [0.01, 0.1]}},
        "search": {"algorithm": "qmc", "configurations": 3},
        "references": BOTH,
        "report_seeds": [7],
    }
    driver = Driver(tmp_path, **keys)
    done = driver.run_all()
    labels = ["iprm", "joint", "joint + unimodal losses"]
    searched = [t for t in done if t.configuration.role != "report"]
    assert {label: sum(t.configuration.label == label for t in searched) for label in labels} == dict.fromkeys(
        labels, 6
    )
    assert {t.configuration.role for t in searched if t.configuration.label != "iprm"} == {"reference"}
    assert all(set(t.configuration.values) == {"train.lr"} for t in searched if t.configuration.label != "iprm")
    assert sorted(t.configuration.label for t in done if t.configuration.role == "report") == labels
    assert driver.plan.expected_runs() == len(done) == 3 * 3 * 2 + 3
    assert Driver(tmp_path, **keys).agenda.idle()


def test_the_same_run_in_two_roles_is_trained_once(tmp_path: Path) -> None:
    methods = ["iprm", {"method": "iprm", "label": "again"}]
    driver = Driver(tmp_path, method=None, methods=methods, seeds=[0])
    task = driver.next()
    assert driver.agenda.next() is Nothing.NOW
    driver.end(task)
    assert driver.agenda.next() is Nothing.LEFT
    assert [e.label for e in driver.index] == ["iprm", "again"]
    assert (driver.agenda.tally.done, driver.agenda.tally.kept) == (2, 0)


def test_force_after_a_kill_trains_what_is_left_and_no_twin_twice(tmp_path: Path) -> None:
    methods = ["iprm", {"method": "iprm", "label": "again"}]
    keys = GRID | {"method": None, "methods": methods, "seeds": [0]}
    Driver(tmp_path, **keys).run_all()
    forced = Driver(tmp_path, force=True, **keys)
    forced.end(forced.next())
    forced.agenda.abandon()  # the process dies
    # Without force only what the killed driver had taken back, and nothing else, is trained.
    assert Driver(tmp_path, **keys).agenda.idle()
    again = Driver(tmp_path, force=True, **keys)
    assert len(again.run_all()) == 3
    assert again.agenda.tally.done == 6


def test_a_new_name_reuses_runs_and_other_settings_do_not(tmp_path: Path) -> None:
    Driver(tmp_path, **GRID).run_all()
    assert Driver(tmp_path, name="renamed", **GRID).agenda.idle()
    assert Driver(tmp_path, name="t", title="words", resources={"cpus": 2}, keep="all", **GRID).agenda.idle()
    for changed in (
        {"epochs": 4},
        {"data": {"digits": {"train_samples": 100}}},
        {"train": {"lr": 0.01}},
        {"hyperparameters": {"paired": False}},
        {"patience": 2},
    ):
        assert len(Driver(tmp_path, **GRID, **changed).run_all()) == 6, changed


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median"])
def test_early_stopping_of_a_search_with_several_seeds(tmp_path: Path, scheduler: str) -> None:
    keys = {
        "vary": {"alpha": {"uniform": [0.1, 0.9]}},
        "search": {"algorithm": "random", "configurations": 12},
        "scheduler": {"name": scheduler, "grace": 1, "reduction": 2},
        "epochs": 4,
        "report_seeds": [],
    }
    driver = Driver(tmp_path, **keys)
    seeds: dict[int, list[int]] = {}
    stopped: dict[int, int | None] = {}
    while isinstance(task := driver.agenda.next(), Task):
        number = task.configuration.number or 0
        seeds.setdefault(number, []).append(task.run.seed)
        stop = driver.train(task, [0.9 - number / 100] * 4)
        if task.run.seed == 0:
            stopped[number] = stop
        else:
            assert stop is None  # later seeds are not compared
    assert {number for number, found in seeds.items() if found == [0, 1]} == {
        n for n, s in stopped.items() if s is None
    }
    assert any(stopped.values())
    assert stopped[0] is None
    # The study knows them as pruned, after that many epochs.
    trials = study(tmp_path / "results/s").trials
    assert [t.state.name for t in trials] == ["PRUNED" if stopped[t.number] else "COMPLETE" for t in trials]
    assert [t.last_step for t in trials] == [stopped[t.number] for t in trials]
    again = Driver(tmp_path, **keys)
    assert again.agenda.idle()
    assert again.agenda.tally.pruned == sum(map(bool, stopped.values()))


def test_a_run_is_a_task_only_while_it_is_under_way(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=[0], retries=1)
    assert driver.agenda.task("never") is None
    task = driver.next()
    assert driver.agenda.task(task.hash) is task
    driver.end(task, status="failed")
    assert driver.agenda.task(task.hash) is None
    again = driver.next()
    driver.end(again)
    assert driver.agenda.task(task.hash) is None
    assert not driver.agenda.should_stop(task.hash, 1, 0.0)


@pytest.mark.parametrize("status", ["done", "failed", "diverged"])
def test_a_run_that_has_ended_is_held_by_nobody(tmp_path: Path, status: str) -> None:
    driver = Driver(tmp_path, seeds=[0])
    task = driver.next()
    assert driver.store.claim(task.hash) is None
    driver.end(task, status=status)
    hold = driver.store.claim(task.hash)
    assert hold is not None
    hold.release()


def test_further_seeds_come_before_those_of_configurations_that_have_not_begun(tmp_path: Path) -> None:
    keys = {"references": BOTH, "seeds": [0, 1, 2], "scheduler": {"name": "asha", "grace": 1}}
    driver = Driver(tmp_path, vary={"alpha": {"grid": [0.1, 0.9]}}, **keys)
    handed = [driver.next()]
    while handed[-1].configuration.values.get("alpha") != 0.1:
        handed.append(driver.next())
    first = handed[-1]
    # A reference begins with all its seeds at once, so two of them wait when the first seed of the grid is done.
    other = driver.next()
    assert (other.configuration.label, other.run.seed) == ("joint + unimodal losses", 0)
    driver.end(first)
    order = [driver.next() for _ in range(4)]
    assert [(t.configuration.label, t.run.seed) for t in order] == [
        ("iprm", 1), ("iprm", 2), ("joint + unimodal losses", 1), ("joint + unimodal losses", 2)
    ]  # fmt: skip


def test_an_interrupted_agenda_hands_out_nothing_more_and_is_not_complete(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **GRID)
    driver.end(driver.next())
    driver.agenda.abandon()
    assert driver.agenda.next() is Nothing.LEFT
    assert (driver.agenda.stopped, driver.agenda.complete) == (True, False)


# Failures that repeat -------------------------------------------------------------------------------------------------

TWO_SIZES = {
    "vary": {"data.digits.train_samples": {"grid": [100, 200]}, "alpha": {"grid": [0.1, 0.5]}},
    "seeds": [0, 1],
    "retries": 3,
}
"""The digits under two options, which are two sets of data."""


def test_wrong_data_is_not_tried_again_and_fails_the_other_runs_of_that_data_at_once(tmp_path: Path) -> None:
    driver, heard = Driver(tmp_path, **TWO_SIZES), list[tuple[str, FinalRecord]]()
    driver.agenda.failed_unstarted = lambda task, final: heard.append((task.hash, final))
    first = driver.next()
    under_way = driver.next()  # on another node, say
    assert first.run.data == under_way.run.data
    assert not driver.fail(first, reason="row 300 is not finite", repeats="dataset", failures=["lost"], attempts=2)
    for _ in range(4):
        task = driver.next()
        assert task.run.data["train_samples"] == 200
        driver.end(task)
    assert driver.agenda.next() is Nothing.NOW
    assert not driver.fail(under_way, reason="row 300 is not finite", repeats="dataset")
    assert driver.agenda.next() is Nothing.LEFT
    assert driver.agenda.complete
    assert (driver.agenda.tally.done, driver.agenda.tally.failed) == (4, 4)
    assert driver.ended == [2, 2, 2, 2]
    assert len(heard) == 2
    for name, final in heard:
        folder = driver.store.run(name)
        assert folder.final() == final
        assert folder.config() is not None
        assert (final.status, final.cause, final.reason) == ("failed", "data", "row 300 is not finite")
        assert (final.failures, final.attempts, final.epochs_trained) == ([], 0, 0)


def test_a_later_driver_tries_again_what_failed_of_the_data(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **TWO_SIZES)
    driver.fail(driver.next(), reason="row 300 is not finite", repeats="dataset")
    driver.run_all()
    assert driver.agenda.tally.failed == 4
    again = Driver(tmp_path, **TWO_SIZES)
    assert len(again.run_all()) == 4
    assert (again.agenda.tally.failed, again.agenda.tally.done, again.agenda.tally.kept) == (0, 8, 4)


def test_a_failure_that_is_the_run_s_own_is_not_tried_again_and_touches_no_other(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **TWO_SIZES)
    assert not driver.fail(driver.next(), reason="encoder cnn cannot take them", repeats="run")
    assert len(driver.run_all()) == 7


def test_data_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **TWO_SIZES)
    task = driver.next()
    assert driver.fail(task, reason="server gone")
    assert len(driver.run_all()) == 8


def test_runs_that_failed_unstarted_cost_nothing_of_the_budget(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **TWO_SIZES, budget={"runs": 5})
    driver.fail(driver.next(), reason="row 300 is not finite", repeats="dataset")
    assert len(driver.run_all()) == 4
    assert driver.agenda.unstarted == 0


def test_a_search_hears_of_wrong_data(tmp_path: Path) -> None:
    keys = {"vary": {"alpha": {"uniform": [0.1, 0.9]}}, "search": {"algorithm": "random", "configurations": 3}}
    driver = Driver(tmp_path, **keys)
    driver.fail(driver.next(), reason="row 300 is not finite", repeats="dataset")
    assert driver.run_all() == []
    assert driver.agenda.tally.failed == 6
