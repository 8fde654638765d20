"""Failures: what they are called, and what stays of them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from support.small_runs import make_run

from data.base import AbsentDataError, DataError
from data.prepared.cache.folder import CacheError
from methods.base import DivergedError
from models.encoders import ShapeError
from sweep.runs.failure_texts import describe_failure
from sweep.runs.failures import (
    OvertimeError,
    ProcessDiedError,
    ProcessMemoryError,
    classify,
    error_of_lost_process,
    oom_kills,
)
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.runs.train import commit_failure

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
        (error_of_lost_process(ACTOR_DIED), "process", "4711 on 10.0.0.5"),
        (error_of_lost_process(ACTOR_DIED, oom_kills=1), "memory", "resources.cpus"),
        (
            error_of_lost_process("5 worker(s) were killed due to the node running low on memory."),
            "memory",
            "resources.cpus",
        ),
        (
            error_of_lost_process(
                "Selected to kill: (Task: a, pid=11)\nSelected to kill: (Task: b, pid=12) memory pressure"
            ),
            "memory",
            "its process was ended by Ray",
        ),
        (error_of_lost_process("The actor died because its node has died."), "process", "gone with its machine"),
        (
            error_of_lost_process("error raised in its creation task, ray::f()\n  File x\nImportError: no y"),
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


def test_where_the_data_of_a_run_lies_is_said_where_it_fails_by_them() -> None:
    error = DataError("sound[3] is not finite")
    arrays = make_run(dataset="arrays", data={"root": "mine.npz", "modalities": ["sound"]})
    assert classify(error, arrays).reason == "DataError: sound[3] is not finite; data.arrays.root is mine.npz"
    for run in (make_run(dataset="arrays", data={"root": None}), make_run(), None):
        assert classify(error, run).reason == "DataError: sound[3] is not finite"


def test_of_an_error_of_memory_two_sentences_of_the_first_line_are_said() -> None:
    said = "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB."
    hint = "lower train.batch_size, or raise resources.gpus so that fewer runs share a GPU"
    assert classify(torch.OutOfMemoryError(f"{CUDA}\nmore")).reason == f"{said}; {hint}"
    # Of any other error all is said.
    assert classify(ValueError("One. Two. Three.")).reason == "ValueError: One. Two. Three."


@pytest.mark.parametrize(
    ("account", "kills", "kind", "said"),
    [
        ("pid=11 and pid: 11, ip=10.0.0.5.", 0, ProcessDiedError, "its process 11 on 10.0.0.5 was killed, or crashed"),
        ("pid=11, pid=12", 0, ProcessDiedError, "its process was killed, or crashed; Ray's log of that worker"),
        ("pid=11", 2, ProcessMemoryError, "its process 11 was ended when the machine ran out of memory"),
        ("node has terminated memory pressure", 1, ProcessMemoryError, "its process was ended by Ray, its machine"),
        ("The NODE WAS TERMINATED", 0, ProcessDiedError, "its process is gone with its machine"),
    ],
)
def test_the_process_of_a_run_that_is_gone_is_named_where_it_is_known(
    account: str, kills: int, kind: type[Exception], said: str
) -> None:
    error = error_of_lost_process(account, kills)
    assert type(error) is kind
    assert str(error).startswith(said)


def test_kills_of_the_kernel_are_counted_where_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "pgfault 9\noom_kill_other 4\noom_kill 3\n")
    assert oom_kills() == 3
    monkeypatch.setattr(Path, "read_text", lambda path: "pgfault 9\n")
    assert oom_kills() == 0

    def refuse(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert oom_kills() == 0


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
    assert "(before: ValueError: attempt 1; ValueError: attempt 2)" in describe_failure(final)
    assert commit_failure(folder, ValueError("too late")) == final
    folder.forget()
    assert (folder.attempts(), folder.failures()) == (0, [])


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "repeats"),
    [
        (DataError("a.npz: sound[300] is not finite"), "dataset"),
        (caused(DataError("row 3 (on a)"), DataError("row 3")), "dataset"),
        (caused(DataError("not an npz file"), ValueError("bad magic")), "dataset"),
        (ShapeError("encoder cnn cannot take a sample of shape [5]"), "run"),
        (AbsentDataError("a.npz: no such file"), None),
        (caused(DataError("a.npz: no such file (on a)"), AbsentDataError("a.npz: no such file")), None),
        (caused(DataError("cannot be read"), OSError(errno.EIO, "Input/output error")), None),
        (CacheError("no room for the next 3 GiB"), None),
        (OSError(errno.ESTALE, "Stale file handle"), None),
    ],
)
def test_wrong_content_fails_again_and_what_cannot_be_read_may_not(error: Exception, repeats: str | None) -> None:
    assert (classify(error).cause, classify(error).repeats) == ("data", repeats)


def test_other_failures_may_go_away() -> None:
    assert classify(caused(MemoryError("no room"), DataError("row 3"))).repeats is None
