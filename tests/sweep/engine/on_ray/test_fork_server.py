"""Workers are forked as if each had started by itself."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweep.engine.on_ray import fork_server
from sweep.engine.on_ray.fork_server import ForkServer, import_all, start_fork_server
from sweep.engine.worker_start import CONTEXT, VARIABLE, Worker, forked_process

START = Path(fork_server.__file__).parents[1] / "worker_start.py"

EARLY = """
import os
SEEN = os.environ.get("RAY_OF_A_JOB")
"""

LATE = """
import os, numpy, ray
SEEN = os.environ.get("RAY_OF_A_JOB")
GIVEN = numpy.random.random()

@ray.remote
class Actor:
    pass
"""

WORKER = """
import early_one, json, late_one, numpy, os, signal, sys
from ray import ObjectID
print(json.dumps({
    "name": __name__, "words": sys.argv, "path": sys.path[0], "folder": os.getcwd(), "said": sys.stdin.read(),
    "group": os.getpgid(0), "blocked": [*signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "more": os.environ.get("MORE"), "seen": [early_one.SEEN, late_one.SEEN], "parent": os.getppid(), "own": os.getpid(),
    "draws": [ObjectID.from_random().hex(), numpy.random.random()],
}))
print("trouble", file=sys.stderr)
"""


class Server:
    """A fork server, and the folder in which it was started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "s"
        for name, text in (("early_one", EARLY), ("late_one", LATE), ("worker", WORKER)):
            (folder / f"{name}.py").write_text(text)
        path = os.pathsep.join([str(folder), *filter(None, sys.path)])
        variables = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self.environment = {**os.environ, **variables, VARIABLE: str(self.path)}
        with (folder / "log").open("wb") as log:
            self.process = start_fork_server(self.path, variables, log, ["early_one"], ["late_one"])

    def ask(self, said: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Start what becomes a worker, or has one forked, with variables beside the server's own."""
        words = [str(self.folder / "worker.py"), "--one", "a b", CONTEXT + json.dumps({"env_vars": variables})]
        return subprocess.run(
            [sys.executable, str(START), *words],
            env=self.environment,
            input=said,
            cwd=self.folder,
            text=True,
            capture_output=True,
        )

    def worker(self, said: str = "", **variables: str) -> dict[str, Any]:
        """Return what a worker says of itself."""
        found = self.ask(said, **variables)
        assert found.stderr == "trouble\n"
        return dict(json.loads(found.stdout))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("s"))
    yield found
    found.process.kill()
    found.process.wait()


def test_a_worker_is_what_the_command_would_be_and_draws_what_no_other_does(server: Server) -> None:
    one = server.worker("said", RAY_OF_A_JOB="1")
    other = server.worker(RAY_OF_A_JOB="1", MORE="and more")
    assert (server.folder / "log").read_bytes() == b""
    assert one["parent"] == other["parent"] == server.process.pid
    assert one["own"] != other["own"]
    # Ray ends the group of one that has died.
    assert [one["group"], other["group"]] == [one["own"], other["own"]]
    assert one["blocked"] == [signal.SIGINT]
    assert one["name"] == "__main__"
    assert one["words"] == [str(server.folder / "worker.py"), "--one", "a b"]
    assert one["path"] == one["folder"] == str(server.folder)
    assert [one["said"], one["more"]] == ["said", None]
    assert [other["said"], other["more"]] == ["", "and more"]
    # Ray is imported once its job is known; before it, what does not need to know.
    assert one["seen"] == other["seen"] == [None, "1"]
    assert not set(one["draws"]) & set(other["draws"])
    # Of one that has ended nothing is left.
    assert psutil.wait_procs(psutil.Process(server.process.pid).children(), timeout=300)[1] == []


@pytest.mark.parametrize("variables", [{"RAY_OF_A_JOB": "2"}, {"OMP_NUM_THREADS": "2", "RAY_OF_A_JOB": "1"}])
def test_one_of_another_job_or_for_other_libraries_starts_by_itself(server: Server, variables: dict[str, str]) -> None:
    server.worker(RAY_OF_A_JOB="1")
    found = server.worker(**variables)
    assert found["parent"] != server.process.pid
    assert found["seen"] == [variables["RAY_OF_A_JOB"]] * 2


def test_who_asks_and_ends_does_no_harm(server: Server) -> None:
    server.worker(RAY_OF_A_JOB="1")
    with socket.socket(socket.AF_UNIX) as nothing_said:
        nothing_said.connect(str(server.path))
    with socket.socket(socket.AF_UNIX) as half_said:
        half_said.connect(str(server.path))
        socket.send_fds(half_said, [b"\0"], [0, 1, 2])
        half_said.sendall(b'{"command": [')
    assert server.worker(RAY_OF_A_JOB="1")["parent"] == server.process.pid


def test_without_a_server_a_worker_starts_by_itself(server: Server, tmp_path: Path) -> None:
    assert forked_process(str(tmp_path / "none"), Worker([], {}, "/")) is None
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        assert forked_process(str(tmp_path / "silent"), Worker([], {}, "/"), patience=0.01) is None


class Tasks:
    """The threads of a process."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, *names: str, draws: str = "ab") -> None:
        for number, name in enumerate(names):
            (folder / str(number)).mkdir()
            (folder / str(number) / "comm").write_text(f"{name}\n")
        drawn = iter(draws)
        patch.setattr(fork_server, "THREADS", folder)
        patch.setattr(fork_server, "_fork_draws", lambda: next(drawn))


@pytest.mark.parametrize(
    ("names", "draws", "ready"),
    [
        (["python"], "ab", True),
        (["python", "jemalloc_bg_thd"], "ab", True),
        (["python", "pool"], "ab", False),
        (["python"], "aa", False),
    ],
)
def test_what_a_fork_would_lack_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: list[str], draws: str, ready: bool
) -> None:
    Tasks(monkeypatch, tmp_path, *names, draws=draws)
    assert fork_server.lacks_nothing_when_forked() is ready


def test_a_process_that_uses_a_gpu_is_not_forked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    Tasks(monkeypatch, tmp_path, "python")
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert not fork_server.lacks_nothing_when_forked()
    monkeypatch.delitem(sys.modules, "torch")
    assert fork_server.lacks_nothing_when_forked()


def test_a_process_that_would_lack_something_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = list[str]()
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(fork_server, "import_all", lambda modules: looks.append(",".join(modules)))
    monkeypatch.setattr(fork_server, "lacks_nothing_when_forked", lambda: bool(looks.append("threads")))
    before = signal.getsignal(signal.SIGCHLD)
    try:
        found = ForkServer(socket.socket(), {"A": "1"}, ["late"])
        assert not found._is_ready(Worker([], {"B": "1"}, "/"))
        assert looks == []
        for _ in range(2):
            assert not found._is_ready(Worker([], {"A": "1", "B": "1"}, "/"))
        assert looks == ["late", "threads"]
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_what_is_imported_is_left_to_no_collection_of_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[tuple[str, bool]]()
    monkeypatch.setattr(fork_server, "import_module", lambda module: done.append((module, gc.isenabled())))
    monkeypatch.setattr(gc, "freeze", lambda: done.append(("freeze", gc.isenabled())))
    import_all(["a", "b"])
    assert done == [("a", False), ("b", False), ("freeze", False)]
    assert gc.isenabled()
