"""Tests of modules, run against one change after the other.

A process collects the tests once. Its first child runs them all and notes which lines of the modules each reaches. Then
every change has a child: it puts the changed code into the functions that are loaded already and runs the tests of the
module that reach the change, fastest first, then its others, which may reach it in a process of their own or by what
another test left in a cache. What Python ran while it imported the module cannot be changed like that: against such a
change the tests run in a process that imports the module anew.
"""

from __future__ import annotations

import gc
import inspect
import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, reduce
from importlib.util import cache_from_source
from itertools import pairwise
from operator import or_
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

from benchmarks.mutations import Mutation

ROOT = Path(__file__).resolve().parent.parent

WITHOUT_TESTS = 5
"""Exit status of pytest where there are none."""
GRACE = 5.0
"""Seconds beyond some multiple of its own after which a test counts as caught in a loop."""

Name = tuple[str, str, int]
"""A function: its file, its qualified name and its first line."""
Place = tuple[str, int]
"""A file and one of its lines."""
Replacements = Sequence[tuple[FunctionType, CodeType]]
"""Functions, and the code that takes the place of each's own."""
Tracer = Callable[[FrameType, str, Any], Any]


def unnoticed(checkout: Path, tests: Mapping[str, Sequence[str]], changes: Sequence[Mutation]) -> Iterator[Mutation]:
    """Yield the changes under which all tests of their module pass. tests: the test files of each module of a checkout.
    Raises SystemExit where tests fail as it is, or a module has none that runs here."""
    results, output = (checkout.parent / f"{checkout.name}.{ending}" for ending in ("results", "output"))
    runner = _ChangeRunner(checkout, tests, changes, results)
    files = list(dict.fromkeys(name for change in changes for name in tests[change.path]))
    code = in_own_process(lambda: _run_pytest(checkout, files, output, [runner])) if changes else None
    if code == WITHOUT_TESTS:
        raise SystemExit(f"{results.read_text('utf-8')} has no test that runs without Ray")
    if code:
        raise SystemExit(f"tests fail without any change:\n{output.read_text('utf-8')}")
    found = json.loads(results.read_text("utf-8")) if changes else {}
    for number, change in enumerate(changes):
        survived = found["survived"].get(str(number))
        if survived is None:
            seconds = found["seconds"][change.path]
            with written(checkout / change.path, change.source):
                survived = all_pass(checkout, tests[change.path], time_limit(seconds), seconds)
        if survived:
            yield change


def all_pass(checkout: Path, tests: Sequence[str], limit: float, seconds: Mapping[str, float] | None = None) -> bool:
    """Run tests of a checkout in a process of their own, the fastest first where their ``seconds`` are known; False
    where one fails, or all take longer than ``limit`` seconds."""
    return in_own_process(lambda: _run_pytest(checkout, tests, None, [_FastestFirst(seconds or {})]), limit) == 0


def time_limit(seconds: Mapping[str, float]) -> float:
    """Return the seconds after which tests count as caught in a loop, from those that each takes."""
    return 2 * GRACE + 5 * sum(seconds.values())


# Processes ---------------------------------------------------------------------------------------------------------


def in_own_process(work: Callable[[], int], limit: float | None = None) -> int | None:
    """Do something in a child of this process, which exits with what it returns; None after ``limit`` seconds."""
    child = os.fork()
    if child == 0:
        _do_and_exit(work, limit)
    os.setpgid(child, child)  # whatever the tests start ends with them
    deadline, ended = math.inf if limit is None else time.monotonic() + limit, None
    try:
        while ended is None and time.monotonic() < deadline:
            time.sleep(0.01)
            ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    finally:
        os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return None if ended is None else os.waitstatus_to_exitcode(status)


def _do_and_exit(work: Callable[[], int], limit: float | None) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        if limit is not None:
            # Ends a loop even if nobody waits any more. The alarm and its timer are for what is tested.
            signal.setitimer(signal.ITIMER_VIRTUAL, limit)
        code = work()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def _run_pytest(checkout: Path, tests: Sequence[str], output: Path | None, plugins: Sequence[object]) -> int:
    """Run pytest on a checkout in this process, a child of the one that has imported the libraries."""
    sink = os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    sys.stdout = sys.stderr = os.fdopen(sink, "w")
    os.chdir(checkout)
    paths = [str(checkout), str(checkout / "tests")]
    # A module that changes within a second, and not in length, is taken from its bytecode otherwise.
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    sys.path[:] = [*paths, *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]
    temporary = checkout.parent / f"{checkout.name}.tests"
    options = ["-x", "-q", "-m", "not ray", "-p", "no:cacheprovider", f"--basetemp={temporary}"]
    return int(pytest.main([*options, *tests], plugins=list(plugins)))


@contextmanager
def written(path: Path, source: str) -> Iterator[None]:
    """Give a module another text for a while."""
    before = path.read_text("utf-8")
    path.write_text(source, "utf-8")
    Path(cache_from_source(str(path))).unlink(missing_ok=True)
    try:
        yield
    finally:
        path.write_text(before, "utf-8")


# Plugins of pytest -------------------------------------------------------------------------------------------------


class _FastestFirst:
    """Orders the tests by the seconds that each takes."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._seconds = seconds

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self._seconds.get(item.nodeid, 0.0))


@dataclass
class Reach:
    """What a test, or a fixture that several share, ran of the modules, and how long it took."""

    seconds: float = 0.0
    lines: set[Place] = field(default_factory=set)

    def __or__(self, other: Reach) -> Reach:
        return Reach(self.seconds + other.seconds, self.lines | other.lines)


class _ChangeRunner:
    """Runs, instead of the tests once, those that reach a change against each, and writes down what survived."""

    def __init__(
        self, checkout: Path, tests: Mapping[str, Sequence[str]], changes: Sequence[Mutation], results: Path
    ) -> None:
        self._checkout, self._tests, self._changes, self._results = checkout, tests, changes, results
        self._trace = _Trace(str(checkout / change.path) for change in changes)
        self._own = Reach()
        self._of_fixtures: dict[str, Reach] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        """Note what is run by imports, and let later processes find the modules' bytecode: half of their time."""
        sys.dont_write_bytecode = False
        self._trace.start()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        self._trace.stop()
        sys.dont_write_bytecode = True
        if session.testsfailed:
            return None
        items = {change.path: self._items_of(change.path, session) for change in self._changes}
        if in_own_process(lambda: self._trace_tests(session)) != 0:
            session.testsfailed = 1
            return True
        found = json.loads(self._results.read_text("utf-8"))
        reached = {
            name: Reach(seconds, {(file, line) for file, line in lines}) for name, (seconds, lines) in found.items()
        }
        seconds = {path: {item.nodeid: reached[item.nodeid].seconds for item in own} for path, own in items.items()}
        loaded = loaded_functions()
        survived = dict[int, bool]()
        for number, change in enumerate(self._changes):
            path, module = change.path, self._checkout / change.path
            replacements = replaced_code(module, change.source, loaded, self._trace.called)
            if replacements is not None:
                lines = {(str(module), line) for line in range(change.line, change.last_line + 1)}
                order = sorted(items[path], key=lambda item: _place(reached[item.nodeid], lines))
                work = partial(_test_replaced, session, order, seconds[path], replacements)
                with written(module, change.source):
                    survived[number] = in_own_process(work, time_limit(seconds[path])) == 0
        self._results.write_text(json.dumps({"seconds": seconds, "survived": survived}), "utf-8")
        return True

    def _items_of(self, path: str, session: pytest.Session) -> list[pytest.Item]:
        files = {self._checkout / name for name in self._tests[path]}
        found = [item for item in session.items if item.path in files]
        if not found:
            self._results.write_text(path, "utf-8")
            pytest.exit("a module without tests", WITHOUT_TESTS)
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        """Count what a shared fixture runs as run by all tests that ask for it, and not only by the first."""
        if fixturedef.scope == "function":
            return (yield)
        before, started = self._trace.take(), time.perf_counter()
        try:
            return (yield)
        finally:
            spent = Reach(time.perf_counter() - started, self._trace.take())
            self._of_fixtures[fixturedef.argname] = self._of_fixtures.get(fixturedef.argname, Reach()) | spent
            self._own |= Reach(-spent.seconds, before)

    def _trace_tests(self, session: pytest.Session) -> int:
        """Run all tests, and write down what each reaches."""
        own = dict[str, Reach]()
        self._trace.start()
        for item, following in pairwise([*session.items, None]):
            self._own, started = Reach(), time.perf_counter()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            own[item.nodeid] = self._own | Reach(time.perf_counter() - started, self._trace.take())
            if session.shouldfail:
                session.config.hook.pytest_sessionfinish(session=session, exitstatus=1)  # says what failed
                return 1
        self._trace.stop()
        reached = {}
        for item in session.items:
            shared = (self._of_fixtures.get(name, Reach()) for name in getattr(item, "fixturenames", ()))
            reach = reduce(or_, shared, own[item.nodeid])
            reached[item.nodeid] = (reach.seconds, sorted(reach.lines))
        self._results.write_text(json.dumps(reached), "utf-8")
        return 0


def _place(reach: Reach, lines: set[Place]) -> tuple[bool, float]:
    return not reach.lines & lines, reach.seconds


def _test_replaced(
    session: pytest.Session, items: Sequence[pytest.Item], seconds: Mapping[str, float], replacements: Replacements
) -> int:
    """Run tests with other code in functions, until one fails; return how many did. A test that takes far more
    processor seconds than before ends this process."""
    for function, code in replacements:
        function.__code__ = code
    for item, following in pairwise([*items, None]):
        signal.setitimer(signal.ITIMER_PROF, GRACE + 3 * seconds[item.nodeid])
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            break
    return session.testsfailed


class _Trace:
    """Notes the lines of some files that are run, and the functions that are called. Threads are left alone: to slow
    them down shows what happens once in a thousand runs."""

    def __init__(self, files: Iterable[str]) -> None:
        self._files = set(files)
        self._lines = set[Place]()
        self.called = set[Name]()

    def start(self) -> None:
        sys.settrace(self._enter)

    def stop(self) -> None:
        sys.settrace(None)

    def take(self) -> set[Place]:
        """Return the lines that were run since this was asked last."""
        lines, self._lines = self._lines, set()
        return lines

    def _enter(self, frame: FrameType, event: str, _: Any) -> Tracer | None:
        if frame.f_code.co_filename not in self._files:
            return None
        self.called.add(name_of(frame.f_code))
        return self._line

    def _line(self, frame: FrameType, event: str, _: Any) -> Tracer:
        self._lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


# Code of functions -------------------------------------------------------------------------------------------------


def replaced_code(
    module: Path, changed: str, loaded: Mapping[Name, Sequence[FunctionType]], called: Container[Name]
) -> Replacements | None:
    """Pair each loaded function that a change of its module concerns with its new code. None where that does not make
    the change: it concerns what the module runs on import, or a function that was ``called`` meanwhile."""
    original = module.read_text("utf-8")
    before, after = (compile(source, str(module), "exec", dont_inherit=True) for source in (original, changed))
    if name_of(before) not in called:
        return []  # whoever imports it later finds the changed file
    if _on_import(before) != _on_import(after):
        return None
    replacements = list[tuple[FunctionType, CodeType]]()
    for old, new in zip(_functions(before), _functions(after), strict=True):
        if _without_lines(old) != _without_lines(new):
            functions = loaded.get(name_of(old), [])
            if not functions or name_of(old) in called or len(old.co_freevars) != len(new.co_freevars):
                return None
            replacements += ((function, new) for function in functions)
    return replacements


def loaded_functions() -> dict[Name, list[FunctionType]]:
    """Find all functions that there are, wherever a class or a decorator keeps them."""
    found = dict[Name, list[FunctionType]]()
    gc.unfreeze()  # what is frozen is not listed
    for function in gc.get_objects():
        if type(function) is FunctionType:
            found.setdefault(name_of(function.__code__), []).append(function)
    gc.freeze()
    return found


def name_of(code: CodeType) -> Name:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of the functions of a module and of its classes, but not of those inside functions."""
    for inner in filter(inspect.iscode, code.co_consts):
        if _is_function(inner):
            yield inner
        else:
            yield from _functions(inner)


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


def _on_import(code: CodeType) -> CodeType:
    """Leave of a module's code what is run on import: functions become their names."""
    return _without_lines(code, lambda inner: inner.co_qualname if _is_function(inner) else _on_import(inner))


def _without_lines(code: CodeType, of_inner: Callable[[CodeType], object] | None = None) -> CodeType:
    """Return code that equals other code if it does the same, on whichever lines it stands."""
    of_inner = of_inner or _without_lines
    consts = (of_inner(const) if inspect.iscode(const) else const for const in code.co_consts)
    return code.replace(co_firstlineno=1, co_linetable=b"", co_consts=tuple(consts))
