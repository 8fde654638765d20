"""Makes the workers of a Ray cluster of one's own by forking a process that has imported, once, what each of them
imports: that takes seconds of processor time, a fork milliseconds. Run as a file, with a listening socket and the names
of modules; it ends when it is killed, as all processes of the cluster are.

Who asks (:mod:`sweep.engine.worker_start`) hands over what a worker is to be, and becomes it itself where none is
forked. Ray reads its environment when it is imported, and gives all workers of a job the same: what imports Ray is
imported in the environment of the first worker."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from sweep.engine.first_imports import without_collection
from sweep.engine.worker_start import PATIENCE, PROCESS, Worker, received_worker

EARLY = ("sweep.runs.train",)
"""What every worker imports, but for Ray."""
LATE = ("sweep.engine.on_ray.actors", "sweep.engine.on_ray.worker_group")
"""What every worker imports, and Ray with it."""
THREADS = Path("/proc/self/task")
"""A folder for each thread of this process."""
FORK_SAFE_THREADS = frozenset({"jemalloc_bg_thd"})
"""Threads, by their names, of libraries that look after them where a process is forked."""


def start_fork_server(
    path: Path,
    variables: Mapping[str, str],
    log: BinaryIO,
    early: Sequence[str] = EARLY,
    late: Sequence[str] = LATE,
) -> subprocess.Popen[bytes]:
    """Start a server that can be asked at ``path`` from now on. It imports the modules of ``early`` in this process's
    environment with ``variables``, which its workers must have, too, and those of ``late`` in that of the first one.
    Raises OSError."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(64)
        number = listening.fileno()
        return subprocess.Popen(
            # -P: modules are not looked for beside this file.
            [sys.executable, "-P", __file__, str(number), *map(",".join, (variables, early, late))],
            env=os.environ | variables,
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


class ForkServer:
    """Forks this process for each that asks at a listening socket; variables, late: see :func:`start_fork_server`."""

    def __init__(self, listening: socket.socket, variables: Mapping[str, str], late: Sequence[str]) -> None:
        self._listening, self._late = listening, late
        self._environment = dict(variables)
        self._can_fork: bool | None = None

    def next_worker(self) -> Worker:
        """Serve; return in forked processes alone, what was asked for, with its input, outputs, environment and folder
        set."""
        while True:
            asking, _ = self._listening.accept()
            with asking:
                asking.settimeout(PATIENCE)
                try:
                    worker, descriptors = received_worker(asking)
                except (OSError, ValueError):
                    continue  # who asked has ended
                if self._is_ready(worker) and os.fork() == 0:
                    self._listening.close()
                    _become(worker, descriptors, asking)
                    return worker
                for descriptor in descriptors:
                    os.close(descriptor)

    def _is_ready(self, worker: Worker) -> bool:
        """Import what is left for the first worker; tell whether all has been imported here as the worker would."""
        if not self._environment.items() <= worker.environment.items():
            return False
        if self._can_fork is None:
            self._environment = worker.environment
            os.environ.update(worker.environment)
            with classes_numbered_by_the_system():
                import_all(self._late)
            self._can_fork = lacks_nothing_when_forked()
            # The system takes note of the ends of workers in place of this process.
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return self._can_fork


def import_all(modules: Sequence[str]) -> None:
    """Import modules, and leave nothing that collecting garbage would write to, and so copy in each fork."""
    with without_collection():
        for module in modules:
            import_module(module)


@contextmanager
def classes_numbered_by_the_system() -> Iterator[None]:
    """Have Ray's actor classes take the numbers by which it knows them from the system. Ray's own generator, once it is
    used, goes on alike in all forks, and two tasks have one identity."""
    from ray import actor

    whole = actor.ActorClassID

    class Number(whole):  # type: ignore[misc, valid-type]
        @classmethod
        def from_random(cls) -> Any:
            return whole(os.urandom(whole.size()))

    actor.ActorClassID = Number
    try:
        yield
    finally:
        actor.ActorClassID = whole


def lacks_nothing_when_forked() -> bool:
    """Tell whether a fork of this process is as good as it: there are no threads that it would miss, no GPU is in use,
    and Ray's generator has not been used."""
    names = [(task / "comm").read_text().strip() for task in THREADS.iterdir()]
    others = [name for name in names if name not in FORK_SAFE_THREADS]
    torch = sys.modules.get("torch")
    in_use = torch is not None and torch.cuda.is_initialized()
    return len(others) == 1 and not in_use and _fork_draws() != _fork_draws()


def _fork_draws() -> bytes:
    """Return the next number of Ray's generator in a fork."""
    from ray import ObjectID

    reading, writing = os.pipe()
    if (process := os.fork()) == 0:
        os.write(writing, ObjectID.from_random().binary())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as drawn:
        found = drawn.read()
    os.waitpid(process, 0)
    return found


def _become(worker: Worker, descriptors: Sequence[int], asking: socket.socket) -> None:
    """Make this process, just forked, the worker; end it where who asked does not wait any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # As Ray starts one: of what has died it ends the whole group, and a terminal interrupts the driver alone.
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        asking.sendall(PROCESS.pack(os.getpid()))
    except OSError:
        os._exit(0)
    os.environ.update(worker.environment)
    os.chdir(worker.folder)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def main(number: int, variables: Sequence[str], early: Sequence[str], late: Sequence[str]) -> None:
    """Import modules, and serve at the listening socket of a number; in a worker, run its file. variables: the names of
    those that workers must have as this process has them."""
    server = ForkServer(socket.socket(fileno=number), {name: os.environ[name] for name in variables}, late)
    import_all(early)
    worker = server.next_worker()
    sys.argv = worker.command
    sys.path.insert(0, str(Path(worker.command[0]).parent))
    runpy.run_path(worker.command[0], run_name="__main__")


if __name__ == "__main__":
    main(int(sys.argv[1]), *([*filter(None, names.split(","))] for names in sys.argv[2:]))
