"""How many small changes of the code its tests notice.

    python -m benchmarks.mutants sweep.runs.store sweep.engine.claims --limit 40 --seed 0

In a copy of the checkout the named modules are changed one place at a time: a comparison, a boundary, a sign, a
condition, a constant, a statement left out. After each change the mirrored tests run, without those that start Ray.
Printed are the share of changes that made a test fail, and those that none noticed. A change that cannot make a
difference goes into the file of equivalent ones, by the line that is printed of it, and counts no more.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")

LIBRARIES = ("numpy", "torch", "pandas", "scipy.stats", "optuna", "pydantic", "yaml", "rich.console", "pyarrow.fs",
             "hypothesis", "pytest")  # fmt: skip
"""Imported once, before the tests of each change run in a process of their own: that saves most of their time."""

OPERATORS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: (r"not\s+in", "in"), ast.Is: ("is", "is not"),
    ast.IsNot: (r"is\s+not", "is"), ast.And: ("and", "or"), ast.Or: ("or", "and"), ast.Add: (r"\+", "-"),
    ast.Sub: ("-", "+"), ast.Mult: (r"\*", "/"), ast.Div: ("/", "*"), ast.FloorDiv: ("//", "*"), ast.Mod: ("%", "*"),
    ast.Pow: (r"\*\*", "*"), ast.BitOr: (r"\|", "&"), ast.BitAnd: ("&", "|"),
}  # fmt: skip
"""Operator -> how it is written, as a pattern, and what takes its place."""

NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
PLAIN = (ast.Name, ast.Attribute, ast.Call, ast.NamedExpr, ast.Subscript)
"""Conditions without an operator of their own, which are turned round."""
DROPPED = (ast.AugAssign, ast.Delete, ast.Raise, ast.Break, ast.Continue)

Edit = tuple[int, int, str]
"""First and last byte of what is replaced, and the text in its place."""


@dataclass(frozen=True)
class Mutation:
    """A change of one place of a module. before, after: the lines that differ, without white space around them."""

    path: str
    line: int
    before: str
    after: str
    source: str
    """Text of the whole module after the change."""

    @property
    def key(self) -> str:
        """Name the change, wherever in its file it stands."""
        return f"{self.path}: {self.before} -> {self.after}"


# Making changes ----------------------------------------------------------------------------------------------------


def mutations(source: str, path: str = "") -> list[Mutation]:
    """List every change of a module, in the order of its lines."""
    found = dict[str, Mutation]()
    for edits in _Editor(source).all_edits():
        if (changed := _apply(source, edits)) not in found and _is_code(changed):
            found[changed] = _describe(source, changed, path)
    return sorted(found.values(), key=lambda mutation: mutation.line)


class _Editor:
    """Finds places to change in one module. Positions are those of bytes, as ``ast`` counts columns."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self._tree = ast.parse(source)
        self._starts = [0]
        for line in self._source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def all_edits(self) -> Iterator[list[Edit]]:
        return self._visit(self._tree)

    def _visit(self, node: ast.AST) -> Iterator[list[Edit]]:
        # Places inside an f-string are unknown before Python 3.12, and few tests read all of a message.
        if isinstance(node, ast.JoinedStr) or _is_for_type_checkers(node) or _is_an_assertion(node):
            return
        yield from self._own_edits(node)
        if isinstance(node, ast.Raise):
            return
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns", "decorator_list"):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST):
                        yield from self._visit(child)

    def _own_edits(self, node: ast.AST) -> Iterator[list[Edit]]:
        match node:
            case ast.Compare():
                operands = [node.left, *node.comparators]
                for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
                    yield [self._operator(op, left, right)]
            case ast.BoolOp():
                pairs = zip(node.values, node.values[1:], strict=False)
                yield [self._operator(node.op, left, right) for left, right in pairs]
            case ast.BinOp(op=op) if type(op) in OPERATORS:
                yield [self._operator(op, node.left, node.right)]
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                start, end = self._span(node)[0], self._span(node.operand)[0]
                yield [(start, end, re.sub(r"^(not\b\s*|-)", "", self._text(start, end)))]
            case ast.Constant(value=bool(flag)):
                yield [(*self._span(node), str(not flag))]
            case ast.Constant(value=int() | float() as number):
                yield [(*self._span(node), repr(number + 1))]
            case ast.Call(func=ast.Name(id=name)) if name in NAMES:
                yield [(*self._span(node.func), NAMES[name])]
            case ast.Call(func=ast.Name(id="sorted" | "reversed"), args=[first, *_]):
                yield [(*self._span(node), f"list({self._text(*self._span(first))})")]
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if isinstance(test, PLAIN):
                yield [self._negated(test)]
            case ast.comprehension():
                yield from ([self._negated(test)] for test in node.ifs if isinstance(test, PLAIN))
            case ast.Return(value=ast.expr() as value) if not _counts_as_none(value):
                yield [(*self._span(node), "return None")]
            case ast.withitem(optional_vars=None):
                yield [(*self._span(node.context_expr), '__import__("contextlib").nullcontext()')]
            case _ if isinstance(node, DROPPED) or _is_done_for_its_effect(node):
                assert isinstance(node, ast.stmt)
                yield [(*self._span(node), "pass")]

    def _operator(self, op: ast.AST, left: ast.expr, right: ast.expr) -> Edit:
        start, end = self._span(left)[1], self._span(right)[0]
        written, instead = OPERATORS[type(op)]
        return start, end, re.sub(written, instead, self._text(start, end), count=1)

    def _negated(self, test: ast.expr) -> Edit:
        return (*self._span(test), f"not ({self._text(*self._span(test))})")

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._starts[node.lineno - 1] + node.col_offset, self._starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, start: int, end: int) -> str:
        return self._source[start:end].decode()


def _is_for_type_checkers(node: ast.AST) -> bool:
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return False


def _is_an_assertion(node: ast.AST) -> bool:
    """Tell what only shows where the code itself is wrong: ``assert``, and ``strict`` of ``zip``."""
    return isinstance(node, ast.Assert) or (isinstance(node, ast.keyword) and node.arg == "strict")


def _is_done_for_its_effect(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return True
    return False


def _counts_as_none(node: ast.expr) -> bool:
    """Tell None and False, for which whoever asks seldom cares."""
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)


def _apply(source: str, edits: Iterable[Edit]) -> str:
    content = source.encode()
    for start, end, text in sorted(edits, reverse=True):
        content = content[:start] + text.encode() + content[end:]
    return content.decode()


def _is_code(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def _describe(source: str, changed: str, path: str) -> Mutation:
    old, new = source.splitlines(), changed.splitlines()
    blocks = [block for block in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()
              if block[0] != "equal"]  # fmt: skip
    first, last = blocks[0], blocks[-1]
    before, after = old[first[1] : last[2]], new[first[3] : last[4]]
    return Mutation(path, first[1] + 1, _one_line(before), _one_line(after), changed)


def _one_line(lines: Iterable[str]) -> str:
    return " ".join(line.strip() for line in lines)


# Running tests -----------------------------------------------------------------------------------------------------


def module_path(module: str, root: Path) -> Path:
    """Find the file of a module, counted from ``root``. Raises SystemExit where there is none."""
    plain = Path(*module.split("."))
    for path in (plain.with_suffix(".py"), plain / "__init__.py"):
        if (root / path).exists():
            return path
    raise SystemExit(f"there is no module {module}")


def mirrored_tests(path: Path, root: Path) -> list[Path]:
    """List the test files of a module, which mirror its place: ``tests/FOLDER/test_FILE.py``, or one for its folder.
    Underscores around the module's name are left out: ``test_init.py`` tests ``__init__.py``."""
    folder, name = path.parent, path.stem.strip("_")
    candidates = [
        Path("tests", folder, f"test_{name}.py"),
        Path("tests", folder.parent, f"test_{folder.name}_{name}.py"),
        Path("tests", folder.parent, f"test_{folder.name}.py"),
    ]
    return [candidate for candidate in candidates if (root / candidate).exists()][:1]


def copy_checkout(root: Path, to: Path) -> None:
    """Copy what git knows of the checkout, and what it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, to / name)


def all_pass(checkout: Path, tests: Sequence[str], limit: float, output: Path | None = None) -> bool:
    """Run tests of a checkout in a process of their own; False where one fails, or all take longer than ``limit``
    seconds."""
    child = os.fork()
    if child == 0:
        _run_tests(checkout, tests, output)
    os.setpgid(child, child)  # whatever the tests start ends with them
    deadline, ended, status = time.monotonic() + limit, 0, 1
    try:
        while not ended and time.monotonic() < deadline:
            time.sleep(0.02)
            ended, status = os.waitpid(child, os.WNOHANG)
    finally:
        if not ended:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return bool(ended) and os.waitstatus_to_exitcode(status) == 0


def _run_tests(checkout: Path, tests: Sequence[str], output: Path | None) -> None:
    """Run pytest in this process, a child of the one that has imported the libraries, and end it."""
    code = 1
    try:
        os.setpgid(0, 0)
        sink = os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.chdir(checkout)
        # A module that changes within a second, and not in length, is taken from its bytecode otherwise.
        sys.dont_write_bytecode = True
        paths = [str(checkout), str(checkout / "tests")]
        os.environ |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        sys.path[:] = [*paths, *(path for path in sys.path if path not in ("", str(ROOT)))]
        sys.modules.pop("benchmarks", None)
        import pytest

        code = pytest.main(["-x", "-q", "-m", "not ray", "-p", "no:cacheprovider", *tests])
        sys.stdout.flush()
    finally:
        os._exit(code)


def measure(modules: Sequence[str], named: Sequence[str], limit: int, seed: int, equivalent: set[str]) -> bool:
    """Print which of ``limit`` changes of modules their tests notice; True where there is none left unnoticed."""
    for library in LIBRARIES:
        import_module(library)
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder)
        copy_checkout(ROOT, checkout)
        paths = [module_path(module, checkout) for module in modules]
        tests = {str(p): [*map(str, mirrored_tests(p, checkout)), *named] for p in paths}
        seconds = {path: _time_unchanged(checkout, path, found) for path, found in tests.items()}
        candidates = [each for path in tests for each in mutations((checkout / path).read_text("utf-8"), path)]
        candidates = [each for each in candidates if each.key not in equivalent]
        chosen = sorted(random.Random(seed).sample(range(len(candidates)), min(limit, len(candidates))))
        counts = {path: [0, 0] for path in tests}
        survivors = list[Mutation]()
        for mutation in (candidates[number] for number in chosen):
            own = checkout / mutation.path
            before = own.read_text("utf-8")
            own.write_text(mutation.source, "utf-8")
            survived = all_pass(checkout, tests[mutation.path], 20 + 5 * seconds[mutation.path])
            own.write_text(before, "utf-8")
            counts[mutation.path][0] += not survived
            counts[mutation.path][1] += 1
            if survived:
                survivors.append(mutation)
                print(f"{mutation.path}:{mutation.line}\n  - {mutation.before}\n  + {mutation.after}", flush=True)
    for path, (noticed, made) in counts.items():
        print(f"{path}: {noticed} of {made} noticed")
    noticed, made = (sum(column) for column in zip(*counts.values(), strict=True))
    print(
        f"all: {noticed} of {made} noticed, {100 * noticed / max(1, made):.0f} %, of {len(candidates)} that there are"
    )
    return not survivors


def _time_unchanged(checkout: Path, path: str, tests: Sequence[str]) -> float:
    """Measure how long the tests of a module take. Raises SystemExit where there are none, or they fail as it is."""
    if not tests:
        raise SystemExit(f"{path} has no mirrored test; name one with --tests")
    started, output = time.monotonic(), checkout.parent / f"{checkout.name}.output"
    try:
        if not all_pass(checkout, tests, 600, output):
            raise SystemExit(f"the tests of {path} fail without any change:\n{output.read_text('utf-8')}")
    finally:
        output.unlink(missing_ok=True)
    return time.monotonic() - started


def read_keys(path: Path) -> set[str]:
    """Read the keys of changes to leave out, one a line; lines that begin with # say why."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("modules", nargs="+", metavar="MODULE")
    arguments.add_argument("--tests", nargs="*", default=[], help="test files beside the mirrored ones")
    arguments.add_argument("--limit", type=int, default=40, help="changes at most, of all modules together")
    arguments.add_argument("--seed", type=int, default=0, help="which changes, where there are more")
    arguments.add_argument("--equivalent", type=Path, default=EQUIVALENT, help="file of changes to leave out")
    given = arguments.parse_args()
    all_noticed = measure(given.modules, given.tests, given.limit, given.seed, read_keys(given.equivalent))
    sys.exit(0 if all_noticed else 1)


if __name__ == "__main__":
    main()
