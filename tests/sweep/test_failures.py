"""Failures: what they are called, what they cost, and that nothing but the run that fails is touched by them."""

from __future__ import annotations

import errno
import io
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from desk import Desk
from odd_method import Odd
from rich.console import Console

import data
import methods
from data.base import DataError, Dataset
from data.digits import Digits, DigitsOptions
from data.registry import Found
from sweep import interrupts
from sweep.config import load
from sweep.engine.ends import interrupted
from sweep.engine.ray_session import RaySession
from sweep.engine.run import Execution, execute
from sweep.failures import OvertimeError, classify, death, told
from sweep.fit import DivergedError
from sweep.progress import Progress
from sweep.records import FinalRecord
from sweep.store import RunFolder, Store
from sweep.train import commit_failure

SWEEP: dict[str, Any] = {
    "method": "iprm",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"alpha": {"grid": [0.1, 0.5, 0.9]}},
    "seeds": [0, 1],
    "epochs": 3,
    "references": False,
}

CPU_ALLOCATOR = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB. See documentation"
ACTOR_DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: RunActor
\tactor_id: 7a3b
\tpid: 4711
\tnamespace: n
\tip: 10.0.0.5
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed
by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed."""


OutOfMemoryError = type("OutOfMemoryError", (Exception,), {"__doc__": "Stands for Ray's error of the same name."})


@pytest.mark.parametrize(
    ("error", "cause", "hint"),
    [
        (MemoryError("Unable to allocate 8 GiB"), "memory", "resources.cpus"),
        (RuntimeError(CPU_ALLOCATOR), "memory", "resources.cpus"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory", "resources.cpus"),
        (torch.OutOfMemoryError(CUDA), "memory", "resources.gpus"),
        (RuntimeError(CUBLAS), "memory", "resources.gpus"),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), "memory", "resources.cpus"),
        (OvertimeError("not finished within 5 s"), "timeout", "raise timeout"),
        (TimeoutError("a server does not answer"), "error", ""),
        (DataError("clips.csv: no such file"), "data", ""),
        (FileNotFoundError(errno.ENOENT, "No such file", "clip.wav"), "data", ""),
        (OSError(errno.EIO, "Input/output error"), "data", ""),
        (death(ACTOR_DIED), "process", "4711 on 10.0.0.5"),
        (death(ACTOR_DIED, oom_kills=1), "memory", "resources.cpus"),
        (death("5 worker(s) were killed due to the node running low on memory."), "memory", "resources.cpus"),
        (death("The actor died because its node has died."), "process", "gone with its machine"),
        (
            death("error raised in its creation task, ray::f()\n  File x\nImportError: no y"),
            "process",
            "ImportError: no y",
        ),
        (SystemExit(3), "process", "exit()"),
        (ValueError("200 training samples give no whole batch"), "error", "ValueError: 200"),
        (KeyError("alpha"), "error", "alpha"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_is_known_by_its_cause_and_says_what_helps(error: BaseException, cause: str, hint: str) -> None:
    failure = classify(error)
    assert (failure.status, failure.cause) == ("failed", cause)
    assert hint in failure.reason
    assert "\n" not in failure.reason


def test_the_cause_of_an_error_is_looked_for_in_what_caused_it() -> None:
    error = RuntimeError("the step failed")
    error.__cause__ = MemoryError("no room")
    failure = classify(error)
    assert failure.cause == "memory"
    assert failure.reason.startswith("RuntimeError: the step failed; lower train.batch_size")


def test_a_loss_that_is_not_finite_is_no_failure_but_a_divergence() -> None:
    assert classify(DivergedError("training loss is nan in epoch 3")).status == "diverged"


def test_attempts_and_reasons_outlive_processes_until_the_run_is_forgotten(tmp_path: Path) -> None:
    folder = Store(tmp_path).run("0123")
    folder.path.mkdir(parents=True)
    for attempt in (1, 2):
        folder.note_start()
        final = commit_failure(folder, ValueError(f"attempt {attempt}"))
        assert final.attempts == attempt
        folder = RunFolder(folder.path)
        folder.reopen()
    folder.note_start()  # and is killed
    folder.note_start()
    final = commit_failure(folder, MemoryError("no room"))
    assert (final.attempts, final.failures) == (4, ["ValueError: attempt 1", "ValueError: attempt 2"])
    assert "(before: ValueError: attempt 1; ValueError: attempt 2)" in told(final)
    assert commit_failure(folder, ValueError("too late")) == final
    folder.forget()
    assert (folder.attempts(), folder.failures()) == (0, [])


@pytest.mark.parametrize(("status", "stays"), [("done", False), ("pruned", False), ("failed", True)])
def test_only_a_failed_run_keeps_its_checkpoint(tmp_path: Path, status: Any, stays: bool) -> None:
    folder = Store(tmp_path).run("0123")
    folder.path.mkdir(parents=True)
    folder.save_checkpoint({"training": {}})
    folder.commit(FinalRecord(status=status))
    assert (folder.path / "checkpoint.pt").exists() == stays


def test_each_failure_of_a_sweep_is_counted_by_cause_retried_aloud_and_shown(tmp_path: Path) -> None:
    desk = Desk(tmp_path, odd=True)
    troubles = ["none", "raise", "diverge", "exit", "exhaust"]
    desk.write(s=SWEEP | {"method": "odd", "vary": {"trouble": {"grid": troubles}}, "seeds": [0], "epochs": 4})
    code, out, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (1, "")
    assert out.count("trying again (1 of 1)") == 3
    assert "1 diverged, 3 failed (1 error, 1 memory, 1 process)" in out
    code, shown, _ = desk.run("show", "s")
    assert code == 0
    assert "3 failed: 1 error, 1 memory, 1 process" in shown
    assert "failed (memory): RuntimeError" in shown
    assert "lower train.batch_size" in shown
    assert shown.count("after 2 attempts") == 3
    rows = {row["hp.trouble"]: row for row in desk.table()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "none": "done",
        "diverge": "diverged",
        **dict.fromkeys(["raise", "exit", "exhaust"], "failed"),
    }


def sweep_in_process(folder: Path, retries: int = 0, **keys: Any) -> tuple[Store, str]:
    """Train a small sweep here; the store and what was said."""
    file, said = folder / "sweeps.yaml", io.StringIO()
    file.write_text(yaml.safe_dump({"sweeps": {"s": SWEEP | {"seeds": [0], "retries": retries} | keys}}))
    store, console = Store(folder / "results"), Console(file=said, width=400)
    execute(load(file, ["s"], [])[0], store, Execution(local=True), RaySession(), console)
    return store, said.getvalue()


def finals(store: Store) -> list[FinalRecord]:
    found = [store.run(path.parent.name).final() for path in (store.results / "runs").glob("*/final.json")]
    return [final for final in found if final is not None]


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """The odd method among the others."""
    monkeypatch.setattr(methods.METHODS, "found", Found(methods.METHODS.found.usable | {"odd": Odd}))


class FragileOptions(DigitsOptions):
    file: str


class Fragile(Digits):
    """The digits, as long as a file exists."""

    name = "fragile"
    Options = FragileOptions
    paths = frozenset({"file"})

    @classmethod
    def load(cls, options: FragileOptions) -> Dataset:  # type: ignore[override]
        if not Path(options.file).exists():
            raise DataError(f"{options.file}: no such file")
        return super().load(options)


def test_a_dataset_that_disappears_fails_its_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.DATASETS, "found", Found(data.DATASETS.found.usable | {"fragile": Fragile}))
    file = tmp_path / "clips.csv"
    file.touch()
    started = Progress.started

    def vanish(progress: Progress, task: Any) -> None:
        file.unlink(missing_ok=True)
        started(progress, task)

    monkeypatch.setattr(Progress, "started", vanish)
    options = {"digits": {"train_samples": 200}, "fragile": {"train_samples": 200, "file": str(file)}}
    store, said = sweep_in_process(tmp_path, datasets=["fragile", "digits"], data=options, vary={})
    assert sorted(final.status for final in finals(store)) == ["done", "failed"]
    failed = next(final for final in finals(store) if final.status == "failed")
    assert failed.cause == "data"
    assert f"no such file (on {socket.gethostname()}); data.fragile.file is {file}" in (failed.reason or "")
    assert "1 failed (1 data)" in said


def test_a_hang_in_native_code_that_holds_pythons_lock_ends_the_process(tmp_path: Path) -> None:
    script = """
import ctypes, pathlib, sys
from sweep.engine import ends
from sweep.store import RunFolder
ends.GRACE = 0.5
watchdog = ends.Watchdog(RunFolder(pathlib.Path(sys.argv[1])), 0.2)
ctypes.PyDLL(None).sleep(600)  # PyDLL: the lock is not released
"""
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert process.returncode == 1
    assert "Timeout" in process.stderr


def test_a_run_that_ends_in_time_takes_its_watchdogs_with_it(tmp_path: Path) -> None:
    script = """
import pathlib, sys, threading
from sweep.engine import ends
from sweep.store import RunFolder
ends.GRACE = 0.1
ends.Watchdog(RunFolder(pathlib.Path(sys.argv[1])), 0.2).cancel()
threading.Event().wait(1)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120)


@pytest.mark.usefixtures("odd")
def test_a_run_that_hangs_is_interrupted_past_its_timeout_and_the_next_one_goes_on(tmp_path: Path) -> None:
    warm = tmp_path / "warm"  # what is imported once must not take the time of a run
    warm.mkdir()
    sweep_in_process(warm, method="odd", vary={})
    keys = {"method": "odd", "vary": {"trouble": {"grid": ["hang", "raise"]}}, "timeout": 1, "epochs": 4}
    store, _ = sweep_in_process(tmp_path, **keys)
    ends = {final.cause: final for final in finals(store)}
    assert len(finals(store)) == 2
    assert "raise timeout" in (ends["timeout"].reason or "")


def test_an_interruption_reaches_code_that_swallows_the_first_one() -> None:
    def stubborn() -> None:
        try:
            time.sleep(600)
        except OvertimeError:
            time.sleep(600)

    with pytest.raises(OvertimeError, match="hangs"), interrupted(0.01):
        stubborn()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_full_disk_stops_the_sweep_with_one_message_and_loses_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write(s=SWEEP | {"epochs": 40})
    process = desk.start("run", "s", "--local", "--no-report")
    desk.wait_for(1, process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "File too large" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in out + err
    kept = len(desk.finished())
    assert 1 <= kept < 6
    code, out, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (0, "")
    assert f"{kept} kept from earlier" in out


@pytest.fixture
def handled() -> Any:
    """Signals as the command handles them, and put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interrupts.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_a_report_be_finished(number: signal.Signals) -> None:
    done = []

    def report() -> None:
        with interrupts.deferred():
            os.kill(os.getpid(), number)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        report()
    assert done


@pytest.mark.usefixtures("handled")
def test_the_first_signal_asks_whoever_is_in_charge() -> None:
    asked: list[int] = []
    with interrupts.deferred(lambda: asked.append(1)):
        os.kill(os.getpid(), signal.SIGINT)
    assert asked == [1]


def test_the_second_ctrl_c_ends_a_local_sweep_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write(s=SWEEP | {"epochs": 200})
    process = desk.start("run", "s", "--local")
    while not list(desk.folder.glob("results/runs/*/checkpoint.pt")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "once more ends at once" in process.stderr.readline()
    process.send_signal(signal.SIGINT)  # in the midst of the report
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "report:" not in out
    assert "Traceback" not in err
