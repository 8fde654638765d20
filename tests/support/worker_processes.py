"""Gloo processes for tests, started once: functions are sent to them, and what these return comes back."""

from __future__ import annotations

import pickle
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

PATIENCE = timedelta(minutes=10)
"""Longest wait of one worker for the others, after which a function that makes them part ends with an error."""


IMPORTED = ["sweep.training.loop", "methods", "data"]
"""What is imported once, for all processes of all groups."""


class WorkerError(RuntimeError):
    """A function failed in one of the processes; the message has its traceback."""


class Workers:
    """``size`` processes of one gloo group, started by the first function that is sent and kept for all that follow."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._workers: list[tuple[mp.Process, Connection]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return what ``function(*arguments)`` gives in each process, in rank order. Raises WorkerError where it fails
        in one; all are then ended, for the others may wait for ever, and the next function starts new ones."""
        if not self._workers:
            self._start()
        request = pickle.dumps((function, arguments))
        for _, connection in self._workers:
            connection.send_bytes(request)
        return self._answers()

    def stop(self) -> None:
        """End the processes."""
        for process, connection in self._workers:
            connection.close()
            process.kill()
            process.join()
        self._workers = []
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self) -> None:
        context = fork_server()
        # It lasts as long as the processes, for they meet there for each further process group.
        self._folder = tempfile.TemporaryDirectory()
        for rank in range(self.size):
            ours, theirs = context.Pipe()
            arguments = rank, self.size, Path(self._folder.name, "rendezvous"), theirs
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            # Else the end of the process would not be seen.
            theirs.close()
            self._workers.append((process, ours))
        self._answers()

    def _answers(self) -> list[Any]:
        answers: list[Any] = [None] * self.size
        awaited = {connection: rank for rank, (_, connection) in enumerate(self._workers)}
        while awaited:
            for connection in wait(list(awaited)):
                rank = awaited.pop(connection)
                try:
                    failed, answers[rank] = pickle.loads(connection.recv_bytes())
                except EOFError:
                    failed, answers[rank] = True, "the process is gone"
                if failed:
                    self.stop()
                    raise WorkerError(f"worker {rank} of {self.size}: {answers[rank]}")
        return answers


def fork_server() -> ForkServerContext:
    """Give what starts processes that begin where the imports of one process end, which no thread of this one's has
    ever run in."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def _serve(rank: int, size: int, rendezvous: Path, connection: Connection) -> None:
    torch.set_num_threads(1)
    method = f"file://{rendezvous}"
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=size, timeout=PATIENCE)
    connection.send_bytes(pickle.dumps((False, None)))
    while True:
        try:
            request = connection.recv_bytes()
        except EOFError:
            return
        try:
            function, arguments = pickle.loads(request)
            answer = pickle.dumps((False, function(*arguments)))
        except BaseException:
            connection.send_bytes(pickle.dumps((True, traceback.format_exc())))
            raise
        connection.send_bytes(answer)
