"""What is told to a service: each run once, its epochs once, how it ended; and what a service may do to a sweep."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from rich.console import Console
from support.command_desk import ROOT, Desk
from support.logged_runs import SMALL, begin, epoch, make_task, stored, trained, uri, written
from support.offline_wandb import offline_run
from support.small_runs import make_plan

from sweep.config import ConfigError
from sweep.engine.loggers import ServiceLogger, loggers, logging_to_services
from sweep.engine.progress import Progress
from sweep.engine.tally import Tally
from sweep.runs.identity import run_hash
from sweep.runs.records import FinalRecord, TestRecord
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store


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


# Events ----------------------------------------------------------------------------------------------------------


class Service:
    """Stands for a service: keeps what its client is told, an item a call."""

    REMEDY = "help it"

    def __init__(self, failing: int | None = None) -> None:
        self.told: list[tuple[Any, ...]] = []
        self._failing = failing

    def connect(self, spec: Any, sweep: str, folder: Path) -> Service:
        return self

    def _hear(self, *what: Any) -> None:
        if len(self.told) == self._failing:
            raise RuntimeError("it broke\nat length")
        self.told.append(what)

    def start(self, key: str, name: str, parameters: Mapping[str, Any]) -> None:
        self._hear("start", parameters["seed"])

    def log(self, key: str, epoch: int, numbers: Mapping[str, float]) -> None:
        self._hear("log", epoch, numbers.get("loss"))

    def end(self, key: str, outcome: Mapping[str, str], failed: bool) -> None:
        self._hear("end", outcome["status"], failed)

    def close(self) -> None:
        self._hear("over")

    def losses(self) -> list[int]:
        return [what[1] for what in self.told if what[0] == "log" and what[2] is not None]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    found = Service()
    monkeypatch.setattr(loggers, "import_module", lambda name: found)
    return found


def logger_of(folder: Path, warnings: list[str]) -> ServiceLogger:
    return ServiceLogger("mlflow", written(folder, loggers=["mlflow"]), Store(folder / "results"), warnings.append)


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
        ("end", "done", False),
    ]
    assert service.told[-1] == ("over",)


def test_a_run_that_the_sweep_leaves_under_way_ends_as_interrupted(tmp_path: Path, service: Service) -> None:
    logger = logger_of(tmp_path, [])
    for seed in range(2):
        begin(Store(tmp_path / "results"), make_task(seed), epochs=2)
        logger.started(make_task(seed))
    logger.finished(make_task(0), FinalRecord(status="done", epochs_trained=2))
    logger.close()
    assert service.told[-2:] == [("end", "interrupted", True), ("over",)]
    assert [what for what in service.told if what[0] == "end"] == [("end", "done", False), ("end", "interrupted", True)]


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


def test_a_service_is_told_what_a_run_is_and_how_it_ended(
    tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[tuple[Any, ...]]()
    monkeypatch.setattr(Service, "_hear", lambda _, *what: None)
    for call in ("start", "log", "end"):
        monkeypatch.setattr(Service, call, lambda _, *what, call=call, **more: told.append((call, *what, more)))
    monkeypatch.delenv("WANDB_SILENT", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "as it was")
    logger, task, store = logger_of(tmp_path, []), make_task(), Store(tmp_path / "results")
    folder = begin(store, task, epochs=1)
    final = FinalRecord(
        status="diverged", reason="nan\nin epoch 1", metrics={"validation_map": 0.5}, seconds=2.5, epochs_trained=1
    )
    folder.commit(final, TestRecord(metrics={"test_map": 0.25}))
    logger.finished(task, final)
    logger.close()
    (_, key, name, parameters, _), (_, _, epoch, scalars, _), (_, _, at, ends, _), (_, _, outcome, failed) = told
    assert key.startswith(f"{task.hash}-")
    assert {what[1] for what in told} == {key}
    assert name == "IPRM (alpha=0.3) on digits seed 0"
    assert {"label": "IPRM", "run": task.hash, "alpha": 0.3}.items() <= parameters.items()
    assert (epoch, at, scalars["loss"]) == (1, 1, 1.0)
    assert ends == {
        "end/epochs_trained": 1, "end/seconds": 2.5, "end/forward_passes": 0.0, "end/peak_memory_mib": 0.0,
        "end/validation_map": 0.5, "end/test_map": 0.25,
    }  # fmt: skip
    assert (outcome, failed) == ({"status": "diverged", "reason": "nan"}, {"failed": True})
    assert logger._thread.daemon
    assert (os.environ["WANDB_SILENT"], os.environ["MLFLOW_DISABLE_TELEMETRY"]) == ("true", "as it was")
    monkeypatch.delenv("WANDB_SILENT")


def test_epochs_are_looked_at_every_three_seconds_and_anew_after_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, looks = [0.0], list[float]()
    monkeypatch.setattr(loggers.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(ServiceLogger, "_tell", lambda logger, news: looks.append(now[0]))
    logger, task = logger_of(tmp_path, []), make_task()
    for seconds in (0.0, 2.9, 3.0, 5.9, 6.5):
        now[0] = seconds
        logger.epoch(task)
    assert looks == [0.0, 3.0, 6.5]
    logger.finished(task, FinalRecord(status="failed"))
    logger.epoch(task)
    assert looks == [0.0, 3.0, 6.5, 6.5, 6.5]


def test_the_first_line_of_what_is_said_is_told_and_not_without_end() -> None:
    said = [loggers._first_line(what) for what in (" one\ntwo", "", KeyError(), ValueError("\nno"), "x" * 400)]
    assert said == ["one", "str", "KeyError", "no", "x" * 300]


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
    monkeypatch.setattr(Service, "start", lambda *told: answer.wait())
    monkeypatch.setattr(loggers, "PATIENCE", 0.01)
    warnings = list[str]()
    logger = logger_of(tmp_path, warnings)
    logger.started(make_task())
    logger.close()
    waiting = logger._news.qsize()
    logger.finished(make_task(), FinalRecord(status="done"))
    assert logger._news.qsize() == waiting  # it is told nothing more
    answer.set()
    assert warnings == ["mlflow: no answer for 0.01 s; the last runs are not logged whole"]


def test_progress_passes_on_what_executors_tell_it(tmp_path: Path, service: Service) -> None:
    task, store = make_task(), Store(tmp_path / "results")
    begin(store, task, epochs=1)
    sweep = written(tmp_path, loggers=["mlflow"])
    failed = FinalRecord(status="failed", cause="error", reason="no", epochs_trained=1)
    with (
        Progress(Console(file=io.StringIO()), "s", 1, Tally()) as progress,
        logging_to_services(sweep, store, progress),
    ):
        progress.started(task)
        progress.epoch(task.hash, 1, 3, 0.5)
        progress.retried(task, failed, 1)
        progress.started(task)
        progress.finished(task, failed)
    assert service.losses() == [1]
    assert [what for what in service.told if what[0] in ("start", "end")] == [
        ("start", 0),
        ("end", "failed", True),
    ]


def test_off_nothing_is_imported_or_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "import_module", lambda name: pytest.fail("imported"))
    monkeypatch.setattr(loggers, "ServiceLogger", lambda *arguments: pytest.fail("made"))
    tally, _ = trained(tmp_path, seeds=[0])
    assert tally.done == 1


def counting_imports(folder: Path) -> Path:
    """A folder with packages of the services' names, each of which notes the processes that import it."""
    packages = folder / "counted"
    for name in ("mlflow", "wandb"):
        (packages / name).mkdir(parents=True)
        note = f"import pathlib, os, sys\npathlib.Path({str(folder)!r}, f'{name}-{{os.getpid()}}').touch()\n"
        (packages / name / "__init__.py").write_text(note)
    return packages


@pytest.mark.parametrize(
    "where",
    [
        pytest.param(["one", "--local"], id="local"),
        pytest.param(["one", "two"], id="ray with one worker and with two", marks=pytest.mark.ray),
    ],
)
def test_not_asked_for_neither_is_imported_and_the_home_folder_stays_empty(tmp_path: Path, where: list[str]) -> None:
    one = SMALL | {"method": "iprm", "datasets": ["digits"], "seeds": [0], "references": False}
    Desk(tmp_path).write(one=one, two=one | {"seeds": [1], "resources": {"workers": 2}})
    home = tmp_path / "home"
    home.mkdir()
    paths = os.pathsep.join([str(counting_imports(tmp_path)), str(ROOT)])
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_AUTH_MODE", None)
    command = [sys.executable, "-m", "sweep", "run", *where, "--no-report"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list(tmp_path.glob("results/runs/*/final.json"))) == len(set(where) - {"--local"})
    assert not list(tmp_path.glob("mlflow-*"))
    assert not list(tmp_path.glob("wandb-*"))
    assert not list(home.rglob("*"))


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
