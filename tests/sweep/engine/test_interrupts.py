"""The first signal asks, the second ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from support.command_desk import Desk

from sweep.engine import interrupts

SWEEP: dict[str, Any] = {
    "method": "iprm",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"alpha": {"grid": [0.1, 0.5, 0.9]}},
    "seeds": [0, 1],
    "epochs": 3,
    "references": False,
}


@pytest.fixture
def handled() -> Any:
    """Signals as the command handles them where its caller ignores none, and put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    interrupts.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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


@pytest.mark.usefixtures("handled")
def test_the_first_signal_is_answered_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with interrupts.deferred(lambda: None):
        os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr() == ("", "interrupted: ending in order; once more ends at once\n")


@pytest.mark.usefixtures("handled")
def test_a_terminal_that_hangs_up_twice_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ended = list[int](), list[int]()
    monkeypatch.setattr(interrupts, "_end", lambda: ended.append(1))

    def gone(descriptor: int, content: bytes) -> int:
        raise OSError("the terminal is gone")

    monkeypatch.setattr(os, "write", gone)
    with interrupts.deferred(lambda: asked.append(1)):
        for number in (signal.SIGHUP, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert (asked, ended) == ([1], [])
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended == [1]


def test_a_hangup_that_is_ignored_as_under_nohup_stays_so() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        interrupts.install()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.usefixtures("handled")
def test_afterwards_the_first_signal_raises_again_and_handlers_of_others_are_replaced() -> None:
    asked = list[str]()
    with interrupts.deferred(lambda: asked.append("outer")):
        with interrupts.deferred(lambda: asked.append("inner")):
            pass
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with interrupts.deferred(lambda: asked.append("within")):  # as ray.init has put its own handler
            os.kill(os.getpid(), signal.SIGTERM)
        interrupts.install()
        os.kill(os.getpid(), signal.SIGINT)
    assert asked == ["within", "outer"]
    interrupts.install()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("terminal", [True, False, None])
def test_the_end_takes_all_children_with_it_and_shows_the_cursor_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool | None
) -> None:
    done = list[object]()

    class Child:
        def __init__(self, gone: bool) -> None:
            self.gone = gone

        def kill(self) -> None:
            if self.gone:
                raise psutil.NoSuchProcess(1)
            done.append("killed")

    def children(recursive: bool = False) -> list[Child]:
        return [Child(gone=True), *[Child(gone=False)] * (1 + recursive)]

    out = None if terminal is None else SimpleNamespace(isatty=lambda: terminal, fileno=lambda: 7)
    monkeypatch.setattr(interrupts.psutil, "Process", lambda: SimpleNamespace(children=children))
    monkeypatch.setattr(interrupts.sys, "__stdout__", out)
    monkeypatch.setattr(interrupts.os, "write", lambda to, what: done.append((to, what)))
    monkeypatch.setattr(interrupts.os, "_exit", done.append)
    interrupts._end()
    assert done == ["killed", "killed", *[(7, b"\x1b[?25h")] * bool(terminal), 130]


def test_the_second_ctrl_c_ends_a_local_sweep_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write(s=SWEEP | {"epochs": 200})
    process = desk.begin("run", "s", "--local")
    while not list(desk.folder.glob("results/runs/*/checkpoint.pt")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert "once more ends at once" in process.stderr.readline()
    process.send_signal(signal.SIGINT)  # in the midst of the report
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "report:" not in out
    assert "Traceback" not in err
