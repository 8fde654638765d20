"""Commands that need not import first: a process that has imported what they do forks for each of them.

A command in a fresh interpreter spends seconds on imports before its first line runs: most of the time of a test of a
few commands. Here each command, or script, is a process of its own all the same, with its folder, environment, streams
and exit code; it only begins where the imports end. Ray alone is left to the command, which says before how it is to
be."""

from __future__ import annotations

import atexit
import json
import os
import pkgutil
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

from sweep.engine.first_imports import without_collection

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 900
"""Seconds after which a command hangs."""
LAZILY_IMPORTED = ("matplotlib.backends.backend_agg", "optuna.importance", "pandas", "plotly.io", "sklearn.datasets")
"""What commands import only where they need it, and most tests of them do."""


# The side of the tests --------------------------------------------------------------------------------------------


class PreparedCommands:
    """Runs ``python -m sweep``, and scripts, in forks of one process. That starts with the first of them, and ends with
    this one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run_code(self, code: str, *words: str, folder: Path = ROOT) -> tuple[int, str, str]:
        """Run a text of Python as ``python -c`` does; see :meth:`run`."""
        with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
            script.write(code)
            script.flush()
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
            return self.run(words, folder, environment, Path(script.name))

    def run(
        self, words: tuple[str, ...], folder: Path, environment: dict[str, str], script: Path | None = None
    ) -> tuple[int, str, str]:
        """Return exit code and what was written. Nothing of a command that hangs is left to disturb the next test.
        script: what is run in place of ``-m sweep``."""
        if self._process is None or self._process.poll() is not None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            start = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen([sys.executable, __file__], env=start, cwd=ROOT, text=True, **pipes)
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        with tempfile.TemporaryDirectory() as streams:
            out, err = Path(streams, "out"), Path(streams, "err")
            asking = [words, str(folder), environment, str(out), str(err), script and str(script)]
            print(json.dumps(asking), file=asked, flush=True)
            pid = int(answers.readline())
            if not select.select([answers], [], [], PATIENCE)[0]:
                os.killpg(pid, signal.SIGKILL)
                answers.readline()  # its exit code, which the next command would take for its own process
                raise subprocess.TimeoutExpired(list(words), PATIENCE, out.read_text(), err.read_text())
            return int(answers.readline()), out.read_text(), err.read_text()


commands = PreparedCommands()


# The side of the commands -----------------------------------------------------------------------------------------


class QuickEnd:
    """Ends a process that has a ``code``, when all is done that is to be done at its end: before the interpreter takes
    apart what was imported, copying it from this process piece by piece, which takes longer than most commands."""

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)  # before anything else is registered, which is therefore done first

    def _end(self) -> None:
        if self.code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)


def serve(requests: IO[str]) -> None:
    """Fork for each request, a line of JSON; tell the process's id, and its exit code when it has ended."""
    quick_end = QuickEnd()
    with without_collection():
        for package in ("data", "models", "methods", "sweep"):
            for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
                if not {"on_ray", "__main__"} & set(module.name.split(".")):
                    import_module(module.name)
        for name in LAZILY_IMPORTED:
            import_module(name)
    assert "ray" not in sys.modules
    while line := requests.readline():
        pid = os.fork()
        if pid == 0:
            try:
                become(*json.loads(line))
            except SystemExit as end:
                if end.code is None or isinstance(end.code, int):
                    quick_end.code = end.code or 0
                raise
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def become(
    words: list[str], folder: str, environment: dict[str, str], out: str, err: str, script: str | None
) -> NoReturn:
    """Go on as ``python -m sweep`` or a script with these words would, once it has imported everything. Raises
    SystemExit."""
    os.setsid()
    for number, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = [folder, *environment["PYTHONPATH"].split(os.pathsep)]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    sys.argv[1:] = words
    if script is None:
        runpy.run_module("sweep", run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(script, run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    serve(sys.stdin)
