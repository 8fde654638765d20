"""MLflow: what it holds of runs, read back from what it stored."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.command_desk import ROOT, Desk
from support.logged_runs import SMALL, begin, client_of, make_task, stored, trained, uri, written

from sweep.config import MLflowSpec
from sweep.engine.loggers import ServiceLogger, mlflow_logger
from sweep.engine.loggers.mlflow_logger import MLflowLogger, connect
from sweep.runs.records import FinalRecord, TestRecord
from sweep.runs.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Metric


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
    client = client_of(tmp_path)

    def curve(name: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]

    assert curve("loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert curve("validation/accuracy") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert curve("diagnostics/omega") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert curve("end/validation_accuracy") == [(3, 0.9)]
    assert curve("end/validation_imbalance") == [(3, 0.1)]
    assert curve("end/test_accuracy") == [(3, 0.8)]
    assert curve("end/selected_epoch") == [(3, 2.0)]


class Client:
    """A server on which another driver makes the experiment, where it makes it at all, as it is about to be made."""

    def __init__(self, made: bool) -> None:
        self.made, self.asked, self.logged = made, 0, list[Any]()

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        self.asked += 1
        return SimpleNamespace(experiment_id=7) if self.made and self.asked == 2 else None

    def create_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        raise MlflowException("there is one")

    def log_batch(self, run: str, metrics: list[Metric]) -> None:
        self.logged += metrics


def test_of_drivers_that_make_an_experiment_together_all_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    client: Any = Client(made=True)
    logger = MLflowLogger(client, "mine")
    assert logger._experiment_id == "7"
    with pytest.raises(MlflowException, match="there is one"):
        MLflowLogger(Client(made=False), "mine")  # type: ignore[arg-type]
    # Times are those of MLflow: milliseconds.
    monkeypatch.setattr(mlflow_logger.time, "time", lambda: 1234.5678)
    logger._ids["key"] = "run"
    logger.log("key", 3, {"a+b": 1})
    assert [(each.key, each.value, each.timestamp, each.step) for each in client.logged] == [("a b", 1.0, 1234567, 3)]


def test_the_experiment_is_called_by_the_sweep_and_only_warnings_of_the_client_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlflow.MlflowClient", lambda uri: f"client of {uri}")
    monkeypatch.setattr(mlflow_logger, "MLflowLogger", lambda client, experiment: (client, experiment))
    logging.getLogger("mlflow").setLevel(logging.INFO)
    for experiment, name in ((None, "s"), ("mine", "mine")):
        found = connect(MLflowSpec(tracking_uri="http://h:1", experiment=experiment), "s", tmp_path)
        assert found == ("client of http://h:1", name)  # type: ignore[comparison-overlap]
    assert logging.getLogger("mlflow").level == logging.WARNING


def test_a_sweep_in_process_logs_what_it_trains_and_nothing_twice(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"loggers": {"mlflow": {"tracking_uri": uri(tmp_path)}}}
    tally, _ = trained(tmp_path, seeds=[0], **keys)
    (first,) = stored(tmp_path).values()
    assert tally.done == 1
    records = Store(tmp_path / "results").run(first.data.params["run"]).epochs()
    history = client_of(tmp_path).get_metric_history(first.info.run_id, "loss")
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
