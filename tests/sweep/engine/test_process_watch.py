"""What is gone is noticed, and the main thread gets out of whatever waits for it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
from support.prepared_commands import commands

from sweep.engine import process_watch
from sweep.engine.process_watch import (
    STOPPED_LOOKS,
    UNREACHABLE,
    ClusterWatch,
    LostClusterError,
    address_sign,
    process_sign,
)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for its end."""
    found = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield found
    found.kill()
    found.communicate()


def wait_for_status(process: int, status: str) -> None:
    while psutil.Process(process).status() != status:
        pass


def test_a_process_that_was_killed_is_gone_though_nobody_has_asked_for_its_end(child: subprocess.Popen[bytes]) -> None:
    sign = process_sign("raylet", child.pid)
    assert sign() is None
    child.kill()
    wait_for_status(child.pid, psutil.STATUS_ZOMBIE)
    assert sign() == f"its raylet (process {child.pid}) was killed, or crashed"
    child.wait()
    assert sign() == f"its raylet (process {child.pid}) was killed, or crashed"
    assert process_sign("raylet", child.pid)() is not None


def test_a_process_that_is_stopped_counts_as_gone_only_after_many_looks(child: subprocess.Popen[bytes]) -> None:
    sign = process_sign("raylet", child.pid)
    child.send_signal(signal.SIGSTOP)
    wait_for_status(child.pid, psutil.STATUS_STOPPED)
    assert [sign() for _ in range(STOPPED_LOOKS)] == [None] * STOPPED_LOOKS
    child.send_signal(signal.SIGCONT)
    while psutil.Process(child.pid).status() == psutil.STATUS_STOPPED:
        pass
    assert sign() is None
    child.send_signal(signal.SIGSTOP)
    wait_for_status(child.pid, psutil.STATUS_STOPPED)
    assert [sign() for _ in range(STOPPED_LOOKS)] == [None] * STOPPED_LOOKS
    assert "is stopped, and was not continued" in (sign() or "")


def test_a_head_is_gone_once_it_has_not_answered_for_long() -> None:
    now = 100.0
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        sign = address_sign("head", host, port, lambda: now)
        now += 10 * UNREACHABLE
        assert sign() is None
    now += UNREACHABLE
    assert sign() is None
    now += 1
    assert sign() == f"its head at {host}:{port} has not answered for {UNREACHABLE + 1:.0f} s"


def watch(*signs: str | None) -> ClusterWatch:
    """A watch that sees these, one a look, and then the last of them."""
    left = list(signs)
    return ClusterWatch([lambda: left.pop(0) if len(left) > 1 else left[0]], stuck=pytest.fail)


def test_what_was_gone_once_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch(None, "its raylet", None)
    seen.check()
    with pytest.raises(LostClusterError, match="the Ray cluster is gone: its raylet"):
        seen.check()
    assert seen.lost() == "its raylet"


def wait_as_ray_does(reached: list[bool]) -> None:
    """Do something first that may not be interrupted, then wait, and make an error of an interruption."""
    for _ in range(1000):
        pass
    reached.append(True)
    try:
        threading.Event().wait()
    except BaseException as error:
        raise SystemError("returned a result with an exception set") from error


def test_the_main_thread_is_interrupted_where_it_may_be_and_errors_of_others_count_as_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_watch, "EVERY", 0.001)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(LostClusterError, match="its raylet"), watch(None, None, "its raylet").interrupting():
        threading.Event().wait()
    reached: list[bool] = []
    with pytest.raises(LostClusterError, match="its raylet"), watch("its raylet").interrupting(lambda: bool(reached)):
        wait_as_ray_does(reached)
    assert signal.getsignal(signal.SIGALRM) is before


def test_what_the_body_raises_while_nothing_is_gone_is_raised() -> None:
    with pytest.raises(ValueError, match="its own"), watch(None).interrupting():
        raise ValueError("its own")


STUCK = """
import signal, sys, threading
from sweep.engine import process_watch
process_watch.EVERY = process_watch.STUCK = 0.001
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
with process_watch.ClusterWatch([lambda: "its raylet"], lambda said: print(said, flush=True)).interrupting():
    threading.Event().wait()
"""


def test_a_process_that_cannot_be_interrupted_says_so_and_is_ended() -> None:
    code, out, err = commands.run_code(STUCK)
    assert (code, out) == (1, "the Ray cluster is gone: its raylet\n"), err


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is done at the end of a process by force."""
    done = list[object]()

    def child(gone: bool) -> SimpleNamespace:
        def kill() -> None:
            if gone:
                raise psutil.NoSuchProcess(1)
            done.append("killed")

        return SimpleNamespace(kill=kill)

    def children(recursive: bool = False) -> list[SimpleNamespace]:
        return [child(gone=True), *[child(gone=False)] * (1 + recursive)]

    monkeypatch.setattr(process_watch.psutil, "Process", lambda: SimpleNamespace(children=children))
    monkeypatch.setattr(process_watch.os, "_exit", done.append)
    return done


def test_the_end_by_force_takes_all_children_with_it_also_where_nothing_can_be_said(ended: list[object]) -> None:
    process_watch.end_stuck_process(lambda: ended.append("said"))
    assert ended == ["said", "killed", "killed", 1]
    ended.clear()

    def refuse() -> None:
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="the terminal is gone"):
        process_watch.end_stuck_process(refuse)
    assert ended == ["killed", "killed", 1]


def test_a_body_that_takes_too_long_ends_the_process_and_one_in_time_does_not(
    monkeypatch: pytest.MonkeyPatch, ended: list[object]
) -> None:
    timers = list[threading.Timer]()

    class Timer(threading.Timer):
        def start(self) -> None:
            timers.append(self)
            ended.append((self.interval, self.daemon))

    monkeypatch.setattr(process_watch.threading, "Timer", Timer)
    with process_watch.ended_by_force(lambda: ended.append("said"), within=5.0):
        timers[0].function(*timers[0].args)
    assert ended == [(5.0, True), "said", "killed", "killed", 1]
    assert timers[0].finished.is_set()  # cancelled


def test_however_fast_interruptions_come_the_body_ends_once_and_nothing_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_watch, "EVERY", 0.0)
    before, watch = signal.getsignal(signal.SIGALRM), ClusterWatch([lambda: "its raylet"], pytest.fail)
    for _ in range(50):
        with pytest.raises(LostClusterError, match="its raylet"), watch.interrupting():
            threading.Event().wait()
        assert signal.getsignal(signal.SIGALRM) == before
        assert not [thread for thread in threading.enumerate() if thread.name == "cluster watch"]


def test_on_the_way_into_the_body_and_out_of_it_nothing_is_interrupted() -> None:
    frame = sys._getframe()
    body = ClusterWatch([], pytest.fail).interrupting()
    for way, between in (("__enter__", True), ("__exit__", True), ("_look", False)):
        inside = SimpleNamespace(f_code=getattr(type(body), way).__code__, f_back=frame)
        called = SimpleNamespace(f_code=frame.f_code, f_back=inside)
        assert process_watch._is_between(called) is between  # type: ignore[arg-type]
    assert not process_watch._is_between(frame)
