"""Weights & Biases: what it holds of runs, offline, read back from what it stored."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.logged_runs import begin, make_task, trained, written
from support.offline_wandb import offline_run

from sweep.config import WandbSpec
from sweep.engine.loggers import ServiceLogger, wandb_logger
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store


def offline(folder: Path) -> dict[str, dict[str, Any]]:
    """The offline runs of the sweep s, by their names."""
    runs = map(offline_run, (folder / "results/s/wandb").glob("offline-run-*/*.wandb"))
    return {run["name"]: run for run in runs}


def test_runs_at_the_same_time_are_told_apart_and_each_says_how_it_ended(tmp_path: Path) -> None:
    store, warnings = Store(tmp_path / "results"), list[str]()
    sweep = written(tmp_path, loggers={"wandb": {"mode": "offline", "project": "p"}})
    logger = ServiceLogger("wandb", sweep, store, warnings.append)
    done, failed, cut = map(make_task, range(3))
    for epochs, task in enumerate((done, failed, cut), start=1):
        begin(store, task, epochs)
        logger.started(task)
        logger.epoch(task)
    logger.finished(failed, FinalRecord(status="failed", cause="error", reason="ValueError: no\nsecond line"))
    logger.finished(done, FinalRecord(status="done", metrics={"validation_accuracy": 0.9}, epochs_trained=1))
    logger.close()
    assert warnings == []

    runs = [offline(tmp_path)[f"IPRM (alpha=0.3) on digits seed {seed}"] for seed in range(3)]
    assert [run["exit"] for run in runs] == [0, 1, 1]
    assert [run["config"]["status"] for run in runs] == ["done", "failed", "interrupted"]
    assert runs[1]["config"]["reason"] == "ValueError: no"
    assert {(run["group"], run["project"]) for run in runs} == {("s", "p")}
    shown = {"label": "IPRM", "method": "iprm", "dataset": "digits", "seed": 0, "alpha": 0.3, "run": done.hash}
    assert shown.items() <= runs[0]["config"].items()
    steps = [[(row["_step"], row["loss"]) for row in run["history"] if "loss" in row] for run in runs]
    assert steps == [[(number, 1 / number) for number in range(1, epochs + 1)] for epochs in (1, 2, 3)]
    assert runs[0]["history"][-1]["end/validation_accuracy"] == 0.9


def test_a_sweep_in_process_is_logged_too(tmp_path: Path) -> None:
    tally, said = trained(tmp_path, seeds=[0], loggers={"wandb": {"mode": "offline"}})
    assert (tally.done, "wandb" in said) == (1, False)
    (run,) = offline(tmp_path).values()
    records = Store(tmp_path / "results").run(run["config"]["run"]).epochs()
    assert [row["loss"] for row in run["history"] if "loss" in row] == [record.loss for record in records]
    assert (run["config"]["status"], run["exit"]) == ("done", 0)


def test_without_a_key_weights_and_biases_is_not_asked_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wandb.login", lambda prompt: prompt)
    with pytest.raises(ValueError, match="there is no API key"):
        wandb_logger.connect(WandbSpec(mode="online"), "s", tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb_logger.connect(WandbSpec(), "s", tmp_path)


def test_runs_are_grouped_by_the_sweep_where_nothing_else_is_said_and_end_with_what_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, told = list[dict[str, Any]](), list[Any]()
    config = SimpleNamespace(update=lambda outcome, **how: told.append((outcome, how)))
    run = SimpleNamespace(config=config, finish=lambda exit_code: told.append(exit_code))
    monkeypatch.setattr("wandb.init", lambda **given: made.append(given) or run)
    monkeypatch.setattr("wandb.login", lambda prompt: True)
    monkeypatch.setattr("wandb.teardown", lambda: told.append("over"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    own = WandbSpec(project="p", entity="e", group="g", mode="offline")
    for spec, expected in (
        (WandbSpec(), {"project": "sweep", "entity": None, "group": "s", "mode": "online"}),
        (own, {"project": "p", "entity": "e", "group": "g", "mode": "offline"}),
    ):
        logger = wandb_logger.connect(spec, "s", tmp_path)
        logger.start("key", "a run", {"seed": 0})
        same = {"dir": str(tmp_path), "id": "key", "name": "a run", "config": {"seed": 0}, "reinit": "create_new"}
        assert made[-1].items() >= (expected | same).items()
        assert made[-1]["settings"].console == "off"
    logger.end("key", {"status": "failed"}, failed=True)
    logger.close()
    assert told == [({"status": "failed"}, {"allow_val_change": True}), 1, "over"]


def test_a_run_that_cannot_be_sent_ends_the_logging_after_some_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[Any]()
    monkeypatch.setattr("wandb.init", lambda **given: made.append(given["settings"]))
    wandb_logger.connect(WandbSpec(mode="offline"), "s", tmp_path).start("key", "a run", {})
    (settings,) = made
    assert (settings.finish_timeout, settings.finish_timeout_raises) == (wandb_logger.UPLOAD_WITHIN, True)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_no_failure_of_the_client_is_a_failure_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    def refuse(**given: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("wandb.login", lambda prompt: True)
    monkeypatch.setattr("wandb.init", refuse)
    tally, said = trained(tmp_path, seeds=[0, 1], loggers={"wandb": {"mode": mode}})
    assert (tally.done, tally.failed) == (2, 0)
    (line,) = [line for line in said.splitlines() if "wandb" in line]
    assert line.startswith("wandb: no network; no more runs are logged there; log in with: wandb login")
