"""MLflow: what it holds of runs, read back from what it stored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from support.command_desk import ROOT, Desk
from support.logged_runs import SMALL, begin, make_task, stored, trained, uri, written

from sweep.engine.loggers import ServiceLogger
from sweep.runs.records import FinalRecord, TestRecord
from sweep.runs.store import Store


def test_what_mlflow_holds_of_runs_that_end_in_each_way(tmp_path: Path) -> None:
    store, warnings = Store(tmp_path / "results"), list[str]()
    sweep = written(tmp_path, loggers={"mlflow": {"tracking_uri": uri(tmp_path), "experiment": "mine"}})
    logger = ServiceLogger("mlflow", sweep, store, warnings.append)
    done, failed, pruned, cut = map(make_task, range(4))

    folder = begin(store, done, epochs=3)
    logger.started(done)
    metrics = {"validation_accuracy": 0.9, "validation_imbalance": 0.1}
    ended = FinalRecord(status="done", metrics=metrics, selected_epoch=2, epochs_trained=3, seconds=4.5)
    folder.commit(ended, TestRecord(metrics={"test_accuracy": 0.8}))
    logger.finished(done, ended)

    begin(store, failed, epochs=1)
    logger.finished(failed, FinalRecord(status="failed", cause="error", reason="ValueError: no\nsecond line"))
    begin(store, pruned, epochs=2)
    logger.finished(pruned, FinalRecord(status="pruned", epochs_trained=2))
    begin(store, cut, epochs=1)
    logger.started(cut)
    logger.epoch(cut)
    logger.close()
    assert warnings == []

    runs = stored(tmp_path, "mine")
    names = [f"IPRM (alpha=0.3) on digits seed {seed}" for seed in range(4)]
    assert sorted(runs) == names
    assert [runs[name].info.status for name in names] == ["FINISHED", "FAILED", "FINISHED", "FAILED"]
    said = [runs[name].data.params["status"] for name in names]
    assert said == ["done", "failed", "pruned", "interrupted"]
    assert runs[names[1]].data.params["reason"] == "ValueError: no"

    run = runs[names[0]]
    shown = {"label": "IPRM", "method": "iprm", "dataset": "digits", "seed": "0", "alpha": "0.3", "run": done.hash}
    assert shown.items() <= run.data.params.items()
    assert run.data.params["train.lr"] == str(done.run.train.lr)
    client = MlflowClient(uri(tmp_path))

    def curve(name: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]

    assert curve("loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert curve("validation/accuracy") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert curve("diagnostics/omega") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert curve("end/validation_accuracy") == [(3, 0.9)]
    assert curve("end/validation_imbalance") == [(3, 0.1)]
    assert curve("end/test_accuracy") == [(3, 0.8)]
    assert curve("end/selected_epoch") == [(3, 2.0)]


def test_a_sweep_in_process_logs_what_it_trains_and_nothing_twice(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"loggers": {"mlflow": {"tracking_uri": uri(tmp_path)}}}
    tally, _ = trained(tmp_path, seeds=[0], **keys)
    (first,) = stored(tmp_path).values()
    assert tally.done == 1
    records = Store(tmp_path / "results").run(first.data.params["run"]).epochs()
    history = MlflowClient(uri(tmp_path)).get_metric_history(first.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(record.epoch, record.loss) for record in records]
    assert len(records) == 2
    assert {"end/test_accuracy", "end/test_subset_left profile", "end/validation_accuracy"} <= first.data.metrics.keys()

    tally, _ = trained(tmp_path, seeds=[0, 1], **keys)
    assert (tally.done, tally.kept) == (2, 1)
    again = stored(tmp_path)
    assert len(again) == 2
    assert again[first.info.run_name].info.run_id == first.info.run_id


def test_a_server_that_does_not_answer_costs_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tally, said = trained(tmp_path, loggers={"mlflow": {"tracking_uri": "http://127.0.0.1:9"}})
    assert (tally.done, tally.failed) == (2, 0)
    (line,) = [line for line in said.splitlines() if "mlflow" in line]
    assert line.startswith("mlflow: ")
    assert "127.0.0.1" in line
    assert "no more runs are logged there; check loggers.mlflow.tracking_uri" in line


def test_nothing_is_left_in_the_home_folder(tmp_path: Path) -> None:
    asked = {"loggers": {"mlflow": {"tracking_uri": uri(tmp_path)}}, "references": False}
    Desk(tmp_path).write(s=SMALL | asked | {"method": "joint", "datasets": ["digits"], "seeds": [0], "epochs": 1})
    home = tmp_path / "home"
    home.mkdir()
    # A machine that tests is told from a user's by variables like these, and never sends anything.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_CURRENT_TEST")}
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sweep", "run", "s", "--local", "--no-report"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(stored(tmp_path)) == 1
    assert not list(home.rglob("*"))
