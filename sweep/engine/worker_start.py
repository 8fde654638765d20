"""Goes on as a worker of Ray, in the environment that it is told: one that the cluster's fork server makes, where there
is one, else this process. Run as a file, in place of Ray's own, which imports Ray only for this: a second of processor
time before each worker imports it again."""

from __future__ import annotations

import json
import os
import shlex
import socket
import struct
import sys
from dataclasses import asdict, dataclass

CONTEXT = "--serialized-runtime-env-context="
LANGUAGE = "--language="

VARIABLE = "SWEEP_FORK_SERVER"
"""Environment variable of what starts workers: the path of the socket at which a fork server is asked."""
PATIENCE = 40.0
"""Seconds that a worker waits for a server that still imports: less than Ray waits for a worker."""
PROCESS = struct.Struct("!I")
"""The server's answer: the process that it has forked. It says nothing where it has not."""


@dataclass(frozen=True)
class Worker:
    """A process that is asked for: a Python file with its arguments, its environment and its folder."""

    command: list[str]
    environment: dict[str, str]
    folder: str


def become_worker(words: list[str]) -> None:
    """Replace this process by the command that Ray gives, with the environment of its words; return where another has
    become it."""
    told = [word.removeprefix(CONTEXT) for word in words if word.startswith(CONTEXT)]
    context = json.loads(told[0]) if told else {}
    command = [word for word in words if not word.startswith((CONTEXT, LANGUAGE))]
    os.environ.update(context.get("env_vars", {}))
    interpreter = context.get("py_executable") or shlex.quote(sys.executable)
    prefix = context.get("command_prefix", ())
    server = os.environ.pop(VARIABLE, None)
    if server is not None and not prefix and interpreter == shlex.quote(sys.executable):
        worker = Worker(command, dict(os.environ), os.getcwd())
        if forked_process(server, worker) is not None:
            return
    # A prefix is of a shell, as cd FOLDER &&.
    line = [*prefix, "exec", context.get("py_executable") or sys.executable, *map(shlex.quote, command)]
    os.execvp("bash", ["bash", "-c", " ".join(line)])


def forked_process(server: str, worker: Worker, patience: float = PATIENCE) -> int | None:
    """Have a fork server make a worker that takes the input and outputs of this process. Return its process; None where
    nobody answers, or none is forked."""
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(patience)
            asked.connect(server)
            socket.send_fds(asked, [b"\0"], [0, 1, 2])
            asked.sendall(json.dumps(asdict(worker)).encode())
            asked.shutdown(socket.SHUT_WR)
            answer = asked.recv(PROCESS.size, socket.MSG_WAITALL)
    except OSError:
        return None
    return int(PROCESS.unpack(answer)[0]) if answer else None


def received_worker(asking: socket.socket) -> tuple[Worker, list[int]]:
    """Return, in the server, who is asked for, and the descriptors of its input and outputs. Raises OSError; ValueError
    where that ends too early."""
    _, descriptors, _, _ = socket.recv_fds(asking, 1, 3)
    try:
        with asking.makefile("rb") as file:
            return Worker(**json.load(file)), descriptors
    except (OSError, ValueError):
        for descriptor in descriptors:
            os.close(descriptor)
        raise


if __name__ == "__main__":
    become_worker(sys.argv[1:])
