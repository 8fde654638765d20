"""A worker of Ray starts as Ray itself would start it."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from ray._private.runtime_env.context import RuntimeEnvContext
from ray.core.generated.common_pb2 import Language

from sweep.engine import worker_start
from sweep.engine.worker_start import CONTEXT, PROCESS, VARIABLE, Worker, become_worker, forked_process, received_worker

COMMAND = ["/my ray/default_worker.py", "--node-ip-address=127.0.0.1", "--temp-dir=/a; b"]


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"env_vars": {"PYTHONPATH": "/a:/b"}, "py_executable": "'/my code/bin/python'"},
        {"env_vars": {"A": "1"}, "command_prefix": ["cd", "/code", "&&"], "py_executable": None, "java_jars": []},
    ],
)
def test_the_command_and_its_environment_are_those_of_rays_own_way(
    monkeypatch: pytest.MonkeyPatch, context: dict[str, Any]
) -> None:
    seen = list[tuple[str, list[str], dict[str, str]]]()
    monkeypatch.setattr(os, "execvp", lambda file, args: seen.append((file, args, dict(os.environ))))
    monkeypatch.setattr(os, "environ", {"B": "2"})
    RuntimeEnvContext.deserialize(json.dumps(context)).exec_worker(list(COMMAND), Language.PYTHON)
    monkeypatch.setattr(os, "environ", {"B": "2"})
    become_worker([*COMMAND, "--language=PYTHON", CONTEXT + json.dumps(context)])
    theirs, ours = seen
    assert ours == theirs


class Asked:
    """A fork server that forks or does not, and what becomes of the process that asks."""

    def __init__(self, patch: pytest.MonkeyPatch, forks: bool) -> None:
        self.seen, self.replaced = list[tuple[str, Worker]](), 0
        self._forks = forks
        patch.setattr(worker_start, "forked_process", self._ask)
        patch.setattr(os, "execvp", self._replace)
        patch.setattr(os, "environ", {"B": "2", VARIABLE: "/socket"})

    def _ask(self, server: str, worker: Worker) -> int | None:
        self.seen.append((server, worker))
        return 1 if self._forks else None

    def _replace(self, file: str, words: list[str]) -> None:
        self.replaced += 1


@pytest.mark.parametrize("interpreter", [None, shlex.quote(sys.executable)])
@pytest.mark.parametrize("forks", [True, False])
def test_a_fork_server_is_asked_first(monkeypatch: pytest.MonkeyPatch, forks: bool, interpreter: str | None) -> None:
    asked = Asked(monkeypatch, forks)
    context = {"env_vars": {"A": "1"}, "py_executable": interpreter}
    become_worker([*COMMAND, "--language=PYTHON", CONTEXT + json.dumps(context)])
    assert asked.seen == [("/socket", Worker(COMMAND, {"A": "1", "B": "2"}, os.getcwd()))]
    assert asked.replaced == (not forks)


@pytest.mark.parametrize("context", [{"command_prefix": ["cd", "/code", "&&"]}, {"py_executable": "/other/python"}])
def test_no_fork_server_makes_a_worker_that_needs_a_shell_or_another_python(
    monkeypatch: pytest.MonkeyPatch, context: dict[str, Any]
) -> None:
    asked = Asked(monkeypatch, True)
    become_worker([*COMMAND, CONTEXT + json.dumps(context)])
    assert (asked.seen, asked.replaced) == ([], 1)


# Asking a fork server ------------------------------------------------------------------------------------------------


class Answering(threading.Thread):
    """A fork server that forks nothing: it notes who is asked for, and answers that it is process 4711, or nothing."""

    def __init__(self, path: Path, answers: bool) -> None:
        super().__init__(daemon=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._answers = answers
        self.start()

    def run(self) -> None:
        asking, _ = self._listening.accept()
        with self._listening, asking:
            asking.settimeout(5)  # of one that never ends what it says
            self.worker, descriptors = received_worker(asking)
            self.files = [os.fstat(descriptor).st_ino for descriptor in descriptors]
            for descriptor in descriptors:
                os.close(descriptor)
            if self._answers:
                asking.sendall(PROCESS.pack(4711))


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_is_told_who_is_asked_for_and_handed_its_input_and_outputs(tmp_path: Path, answers: bool) -> None:
    server, worker = Answering(tmp_path / "s", answers), Worker(COMMAND, {"A": "1"}, "/code")
    assert forked_process(str(tmp_path / "s"), worker) == (4711 if answers else None)
    server.join()
    assert server.worker == worker
    assert server.files == [os.fstat(number).st_ino for number in (0, 1, 2)]


def test_a_server_that_says_nothing_is_not_waited_for_longer_than_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = list[float | None]()

    class Asked(socket.socket):
        def settimeout(self, value: float | None) -> None:
            given.append(value)

    monkeypatch.setattr(socket, "socket", Asked)
    assert forked_process(str(tmp_path / "none"), Worker([], {}, "/"), patience=7.0) is None
    assert forked_process(str(tmp_path / "none"), Worker([], {}, "/")) is None
    assert given == [7.0, worker_start.PATIENCE]


def test_of_who_ends_before_all_is_said_nothing_is_left_open() -> None:
    asked, asking = socket.socketpair(socket.AF_UNIX)
    with asking:
        with asked, tempfile.TemporaryFile() as file:
            socket.send_fds(asked, [b"\0"], [file.fileno()] * 3)
            asked.sendall(b'{"command": [')
        before = os.listdir("/proc/self/fd")
        with pytest.raises(ValueError, match="Expecting"):
            received_worker(asking)
        assert os.listdir("/proc/self/fd") == before
