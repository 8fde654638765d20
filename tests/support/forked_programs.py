"""Texts of Python, and commands, in processes of their own that begin where the imports of one process end.

A fresh interpreter spends seconds on importing torch, which most tests of a process are not about. These processes
share what the workers of :mod:`support.worker_processes` share: of the project the declarations and the training, of
other packages what those import and nothing else, as a program may ask."""

from __future__ import annotations

import os
import runpy
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from support.worker_processes import fork_server

PACKAGES = ("data", "methods", "models", "sweep")
PATIENCE = 900.0
"""Seconds after which a program that hangs is killed."""


class Program:
    """A process as :class:`subprocess.Popen` has them, with pipes for its output and its errors."""

    def __init__(
        self,
        code: str | None,
        *words: str,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start ``code``, or ``python -m sweep`` where it is None, with ``words`` as arguments, in ``folder`` where one
        is given, with some more variables of the environment. In a folder that holds a copy of the packages that copy
        is imported."""
        context = fork_server()
        ends = [context.Pipe(duplex=False) for _ in range(2)]
        streams = [writing for _, writing in ends]
        arguments: Any = (code, words, folder and str(folder), environment or {}, *streams)
        self._process: BaseProcess = context.Process(target=_run, args=arguments)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        for stream in streams:
            stream.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(reading.fileno())) for reading, _ in ends)
        for reading, _ in ends:
            reading.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """Tell its exit code; None as long as it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        self.communicate()

    def communicate(self, timeout: float = PATIENCE) -> tuple[str, str]:
        """Wait for its end, and return what is left of its output and its errors."""
        hangs = threading.Timer(timeout, self._process.kill)
        hangs.start()
        with self.stdout, self.stderr:
            said = self.stdout.read(), self.stderr.read()
        self._process.join()
        hangs.cancel()
        return said


def printed(code: str, *words: str, **options: Any) -> str:
    """Run a program that is to end without an error, and return what it printed. options: those of
    :class:`Program`."""
    program = Program(code, *words, **options)
    out, err = program.communicate()
    assert (program.returncode, err) == (0, ""), err
    return out


def _run(
    code: str | None, words: tuple[str, ...], folder: str | None, environment: Mapping[str, str], *streams: Connection
) -> None:
    os.setsid()
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
        stream.close()
    os.environ |= environment
    if folder is not None:
        os.chdir(folder)
        if Path(folder, "methods").is_dir():
            sys.path.insert(0, folder)
            for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
                del sys.modules[name]
    sys.argv[:] = ["-c", *words]
    if code is None:
        runpy.run_module("sweep", run_name="__main__", alter_sys=True)
    else:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
