"""Texts of Python in processes of their own that begin where the imports of one process end.

``python -c`` spends seconds on importing torch, which most tests of a process are not about. These processes share what
the workers of :mod:`support.worker_processes` share: of the project the declarations and the training, of other
packages what those import and nothing else, as a program may ask."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from support.worker_processes import fork_server

PACKAGES = ("data", "methods", "models", "sweep")


class Program:
    """A program that has been started, with its output; errors are told with its end."""

    def __init__(self, code: str, *words: str, folder: Path | None = None, **environment: str) -> None:
        """Start ``code`` with ``words`` as its arguments, in ``folder`` where one is given, with some more variables
        of the environment. In a folder that holds a copy of the packages the copy is imported."""
        context = fork_server()
        ends = [context.Pipe(duplex=False) for _ in range(2)]
        streams = [writing for _, writing in ends]
        arguments: Any = (code, words, folder and str(folder), environment, *streams)
        self._process: BaseProcess = context.Process(target=_run, args=arguments)
        self._process.start()
        self.pid = self._process.pid
        for stream in streams:
            stream.close()
        self.stdout, self._errors = (os.fdopen(os.dup(reading.fileno())) for reading, _ in ends)
        for reading, _ in ends:
            reading.close()

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, what is left of its output, and its errors."""
        with self.stdout, self._errors:
            out, err = self.stdout.read(), self._errors.read()
        self._process.join()
        code = self._process.exitcode
        assert code is not None
        return code, out, err

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self._process.kill()
        self.end()


def printed(code: str, *words: str, folder: Path | None = None, **environment: str) -> str:
    """Run a program that is to end without an error, and return what it printed."""
    status, out, err = Program(code, *words, folder=folder, **environment).end()
    assert (status, err) == (0, ""), err
    return out


def _run(
    code: str, words: tuple[str, ...], folder: str | None, environment: Mapping[str, str], *streams: Connection
) -> None:
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
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
