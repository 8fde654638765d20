"""MLflow and Weights & Biases: what they are told of a sweep, offline, read back from what they stored."""

from __future__ import annotations

import importlib.util
import io
import json
import struct
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import ray
from desk import Desk
from mlflow import MlflowClient
from mlflow.entities import Run as Logged
from ray.exceptions import RayTaskError
from rich.console import Console
from samples import make_environment, make_epoch, make_plan, make_run

from sweep.config import ConfigError, Sweep, WandbSpec
from sweep.engine import loggers, wandb_logger
from sweep.engine.loggers import Logger, logged
from sweep.engine.ray_session import RaySession
from sweep.engine.run import Execution, execute
from sweep.engine.tasks import Tally, Task
from sweep.identity import run_hash
from sweep.plan import Configuration
from sweep.progress import Progress
from sweep.records import EpochRecord, FinalRecord, TestRecord
from sweep.store import RunFolder, Store

SMALL: dict[str, Any] = {"data": {"digits": {"train_samples": 200}}, "epochs": 2}


def make_task(seed: int = 0) -> Task:
    run = make_run(method="iprm", hyperparameters={"alpha": 0.3}, seed=seed)
    return Task(run, f"{seed:016x}", Configuration("IPRM", {"alpha": 0.3}, run), False, 0)


def epoch(number: int) -> EpochRecord:
    return make_epoch(number).model_copy(update={"loss": 1 / number, "diagnostics": {"omega": float(number)}})


def begin(store: Store, task: Task, epochs: int) -> RunFolder:
    folder = store.run(task.hash)
    folder.open(task.run, make_environment())
    for number in range(1, epochs + 1):
        folder.append(epoch(number))
    return folder


def uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def stored(folder: Path, experiment: str = "s") -> dict[str, Logged]:
    """What MLflow holds of an experiment, by the names of the runs."""
    client = MlflowClient(uri(folder))
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs)
    return by_name


# Configuration ---------------------------------------------------------------------------------------------------


def written(folder: Path, **keys: Any) -> Sweep:
    return make_plan(folder, **keys).sweep


def test_short_and_long_forms_and_defaults(tmp_path: Path) -> None:
    assert written(tmp_path).loggers.chosen() == []
    assert written(tmp_path, loggers=[]).loggers.chosen() == []
    short = written(tmp_path, loggers=["wandb"]).loggers
    assert short == written(tmp_path, loggers={"wandb": {}}).loggers
    assert short.model_dump() == {
        "mlflow": None,
        "wandb": {"project": "sweep", "entity": None, "group": None, "mode": None},
    }
    both = written(tmp_path, loggers={"wandb": {"mode": "offline"}, "mlflow": {"tracking_uri": "http://h:5000"}})
    assert both.loggers.chosen() == ["mlflow", "wandb"]


def test_loggers_change_no_run(tmp_path: Path) -> None:
    def hashes(**keys: Any) -> list[str]:
        planned = make_plan(tmp_path, **keys)
        (configuration,) = planned.studies[0].configurations
        return [run_hash(run) for run in configuration.runs(planned.seeds)]

    assert hashes(loggers=["mlflow", "wandb"]) == hashes()


def test_a_logger_that_is_not_installed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where Weights & Biases ran, a folder of its name lies.
    (tmp_path / "wandb").mkdir()
    left = PathFinder.find_spec("wandb", [str(tmp_path)])
    assert left is not None
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: left if name == "wandb" else find(name))
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, loggers=["mlflow", "wandb"])
    (problem,) = caught.value.problems
    assert (problem.key, problem.message) == ("sweeps.s.loggers[1]", "wandb is not installed")
    assert problem.suggestion == "pip install 'balanced-multimodal-sweeps[loggers]'"


# MLflow ----------------------------------------------------------------------------------------------------------


def test_what_mlflow_holds_of_runs_that_end_in_each_way(tmp_path: Path) -> None:
    store, warnings = Store(tmp_path / "results"), list[str]()
    sweep = written(tmp_path, loggers={"mlflow": {"tracking_uri": uri(tmp_path), "experiment": "mine"}})
    logger = Logger("mlflow", sweep, store, warnings.append)
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


def trained(folder: Path, **keys: Any) -> tuple[Tally, str]:
    """Train a small sweep in this process; how it went, and what was said."""
    said = io.StringIO()
    sweep = written(folder, **SMALL, **keys)
    tally = execute(sweep, folder / "results", Execution(local=True), RaySession(), Console(file=said, width=300))
    return tally, said.getvalue()


def test_a_sweep_in_process_logs_what_it_trains_and_nothing_twice(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"loggers": {"mlflow": {"tracking_uri": uri(tmp_path)}}}
    tally, _ = trained(tmp_path, seeds=[0], **keys)
    (first,) = stored(tmp_path).values()
    assert tally.done == 1
    records = Store(tmp_path / "results").run(first.data.params["run"]).epochs()
    history = MlflowClient(uri(tmp_path)).get_metric_history(first.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(record.epoch, record.loss) for record in records]
    assert len(records) == 2
    assert {"end/test_accuracy", "end/validation_accuracy"} <= first.data.metrics.keys()

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


def test_without_ray_weights_and_biases_is_left_out_with_a_line(tmp_path: Path) -> None:
    tally, said = trained(tmp_path, seeds=[0], loggers={"wandb": {"mode": "offline"}})
    assert tally.done == 1
    assert said.count("wandb: logs through Ray, so left out with --local") == 1


# Events ----------------------------------------------------------------------------------------------------------


class Service:
    """Stands for a service: keeps what its callback is told, an item a call."""

    REMEDY = "help it"

    def __init__(self, failing: int | None = None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._failing = failing

    def callback(self, spec: Any, sweep: str) -> Service:
        return self

    def _hear(self, *what: Any) -> None:
        if len(self.told) == self._failing:
            raise RuntimeError("it broke\nat length")
        self.told.append(what)

    def log_trial_start(self, run: Any) -> None:
        self._hear("start", run.config.get("seed", run.config.get("status")))

    def log_trial_result(self, iteration: int, run: Any, result: dict[str, Any]) -> None:
        self._hear("loss", result["training_iteration"], result.get("loss"))

    def log_trial_end(self, run: Any, failed: bool) -> None:
        self._hear("end", failed)

    def on_experiment_end(self, runs: Any) -> None:
        self._hear("over")

    def losses(self) -> list[int]:
        return [what[1] for what in self.told if what[0] == "loss" and what[2] is not None]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    found = Service()
    monkeypatch.setattr(loggers, "import_module", lambda name: found)
    return found


def logger_of(folder: Path, warnings: list[str]) -> Logger:
    return Logger("mlflow", written(folder, loggers=["mlflow"]), Store(folder / "results"), warnings.append)


def test_a_run_that_is_tried_again_goes_on_in_the_same_place(tmp_path: Path, service: Service) -> None:
    logger, task = logger_of(tmp_path, []), make_task()
    folder = begin(Store(tmp_path / "results"), task, epochs=2)
    logger.started(task)
    logger.epoch(task)
    # It failed, and goes on from its checkpoint of epoch 1.
    logger.started(task)
    folder.append(epoch(3))
    logger.finished(task, FinalRecord(status="done", epochs_trained=3))
    logger.close()
    assert service.losses() == [1, 2, 3]
    assert [what for what in service.told if what[0] in ("start", "end")] == [
        ("start", 0),
        ("start", "done"),
        ("end", False),
    ]
    assert service.told[-1] == ("over",)


def test_epochs_are_looked_at_now_and_then(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list[str]()
    read = RunFolder.epochs
    monkeypatch.setattr(RunFolder, "epochs", lambda folder: looks.append(folder.path.name) or read(folder))
    monkeypatch.setattr(loggers, "LOOK_EVERY", 1e9)
    logger, task = logger_of(tmp_path, []), make_task()
    begin(Store(tmp_path / "results"), task, epochs=50)
    for _ in range(50):
        logger.epoch(task)
    logger.finished(task, FinalRecord(status="done", epochs_trained=50))
    logger.close()
    assert len(looks) == 2
    assert service.losses() == list(range(1, 51))


@pytest.mark.parametrize("failing", [0, 1, 3, 5])
def test_a_logger_that_fails_says_so_once_and_is_told_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    service, warnings = Service(failing), list[str]()
    monkeypatch.setattr(loggers, "import_module", lambda name: service)
    logger, store = logger_of(tmp_path, warnings), Store(tmp_path / "results")
    for task in map(make_task, range(3)):
        begin(store, task, epochs=1)
        logger.started(task)
        logger.finished(task, FinalRecord(status="done", epochs_trained=1))
    logger.close()
    assert warnings == ["mlflow: it broke; no more runs are logged there; help it"]
    assert len(service.told) == failing


def test_one_that_hangs_is_not_waited_for(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Event()
    monkeypatch.setattr(Service, "log_trial_start", lambda service, run: answer.wait())
    monkeypatch.setattr(loggers, "PATIENCE", 0.01)
    warnings = list[str]()
    logger = logger_of(tmp_path, warnings)
    logger.started(make_task())
    logger.close()
    answer.set()
    assert warnings == ["mlflow: no answer for 0.01 s; the last runs are not logged whole"]


def test_progress_passes_on_what_executors_tell_it(tmp_path: Path, service: Service) -> None:
    task, store = make_task(), Store(tmp_path / "results")
    begin(store, task, epochs=1)
    sweep = written(tmp_path, loggers=["mlflow"])
    failed = FinalRecord(status="failed", cause="error", reason="no", epochs_trained=1)
    with (
        Progress(Console(file=io.StringIO()), "s", 1, Tally()) as progress,
        logged(sweep, store, progress, local=True),
    ):
        progress.started(task)
        progress.epoch(task.hash, 1, 3, 0.5)
        progress.retried(task, failed, 1)
        progress.started(task)
        progress.finished(task, failed)
    assert service.losses() == [1]
    assert [what for what in service.told if what[0] in ("start", "end")] == [
        ("start", 0),
        ("start", "failed"),
        ("end", True),
    ]


def test_off_nothing_is_imported_or_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "import_module", lambda name: pytest.fail("imported"))
    monkeypatch.setattr(loggers, "Logger", lambda *arguments: pytest.fail("made"))
    tally, _ = trained(tmp_path, seeds=[0])
    assert tally.done == 1


# Weights & Biases ------------------------------------------------------------------------------------------------


def test_why_a_process_of_weights_and_biases_failed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(future: str) -> None:
        raise RayTaskError("run", "a long traceback", ConnectionError("no network"))

    monkeypatch.setattr(ray, "wait", lambda futures, **options: (futures, []))
    monkeypatch.setattr(ray, "get", answer)
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    callback = wandb_logger._Callback(project="p", mode="offline")
    for known in (callback._trial_logging_futures, callback._trial_logging_actors, callback._trial_queues):
        known["run"] = "future"
    callback._logging_future_to_trial["future"] = "run"
    with pytest.raises(ConnectionError, match="no network"):
        callback.on_experiment_end([])


def test_without_a_key_weights_and_biases_is_not_asked_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_logger.wandb, "login", lambda prompt: False)
    monkeypatch.setattr(wandb_logger, "_force_on_current_node", dict)
    with pytest.raises(ValueError, match="there is no API key"):
        wandb_logger.callback(WandbSpec(mode="online"), "s")
    monkeypatch.setenv("WANDB_MODE", "offline")
    found = wandb_logger.callback(WandbSpec(), "s")
    assert (found.project, found.group, found.kwargs) == ("sweep", "s", {"entity": None, "mode": "offline"})
    assert not ray.is_initialized()


# On Ray ----------------------------------------------------------------------------------------------------------


def offline_records(path: Path) -> Iterator[Any]:
    """What a .wandb file holds: a header of 7 bytes, then records in blocks of 32 KiB, as LevelDB logs them."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, parts = path.read_bytes(), 7, b""
    while position < len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def offline_run(path: Path) -> dict[str, Any]:
    """Configuration, history and exit code of an offline run."""
    found: dict[str, Any] = {"config": {}, "history": []}
    for record in offline_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"name": record.run.display_name, "group": record.run.run_group, "project": record.run.project}
        updates = record.run.config.update if kind == "run" else record.config.update if kind == "config" else []
        found["config"] |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in updates}
        if kind == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found["history"].append(items)
        if kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


@pytest.mark.ray
def test_both_on_ray_with_a_run_that_fails(tmp_path: Path) -> None:
    desk = Desk(tmp_path, odd=True)
    sweep = SMALL | {
        "method": "odd",
        "datasets": ["digits"],
        "points": [{"trouble": "raise"}],
        "seeds": [0],
        "epochs": 4,
        "retries": 0,
        "references": False,
        "loggers": {"mlflow": {"tracking_uri": uri(tmp_path)}, "wandb": {"mode": "offline", "project": "p"}},
    }
    desk.write(s=sweep)
    code, out, err = desk.run("run", "s", "--no-report")
    assert (code, err) == (1, "")
    assert "1 failed" in out
    name = "odd (trouble=raise) on digits seed 0"
    assert {name: run.info.status for name, run in stored(tmp_path).items()} == {name: "FAILED"}

    (file,) = (tmp_path / "results/s/wandb").glob("offline-run-*/*.wandb")
    run = offline_run(file)
    assert (run["name"], run["group"], run["project"], run["exit"]) == (name, "s", "p", 1)
    config = {"method": "odd", "seed": 0, "trouble": "raise", "status": "failed"}
    assert config.items() <= run["config"].items()
    assert "told to raise" in run["config"]["reason"]
    records = Store(tmp_path / "results").run(run["config"]["run"]).epochs()
    steps = [(row["_step"], row["loss"]) for row in run["history"] if "loss" in row]
    assert steps == [(record.epoch, record.loss) for record in records]
    assert len(steps) >= 2
    assert "end/seconds" in run["history"][-1]
