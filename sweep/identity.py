"""What makes two runs the same: a hash of everything that can change a result, and of nothing else."""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any

import data
import methods
from sweep.records import Run

DIGITS = 16
"""Hexadecimal digits of every digest."""

PACKAGES = ("data", "methods", "models", "sweep")


def canonical(value: Any) -> str:
    """One text for all values that mean the same: 1, 1.0 and 1e0 agree, so do 0.0 and -0.0; the order of keys does not
    count, that of lists does; true is no number.

    Takes null, bool, finite numbers, text, lists and mappings with text as keys. Raises TypeError, ValueError."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return int(number) if number.is_integer() else number
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"a key must be text, not {wrong[0]!r}")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")


def digest(value: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of :func:`canonical`."""
    return _hex(canonical(value))


def _hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def run_hash(run: Run) -> str:
    """Identity of a run, 16 hexadecimal digits. Left out is what cannot change the result: where the data lies, which
    device computes, and the number of workers where the method gives the same updates with any."""
    return digest(_identity(run))


def configuration_hash(run: Run) -> str:
    """Identity of a run without its seed."""
    identity = _identity(run)
    del identity["seed"]
    return digest(identity)


def _identity(run: Run) -> dict[str, Any]:
    method, source = methods.get(run.method), data.get(run.dataset)
    identity = run.model_dump(mode="json")
    del identity["train"]["device"]
    for encoder in identity["encoders"].values():
        # Weights to start from count by what they are, not by where they lie.
        if isinstance(pretrained := encoder.get("pretrained"), str) and Path(pretrained).expanduser().exists():
            encoder["pretrained"] = content_digest(Path(pretrained).expanduser())
    identity["data"] = {name: value for name, value in identity["data"].items() if name not in source.paths}
    if not method.world_size_matters(method.Hyperparameters.model_validate(run.hyperparameters)):
        del identity["workers"]
    return identity


def content_digest(path: Path) -> str:
    """Digest of a file's content, or of all files of a folder with their names in it (hidden ones left out); a file is
    read again only when its time or size has changed. Raises OSError."""
    if path.is_dir():
        names = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
        shown = {name: file for name, file in names.items() if not any(p.startswith(".") for p in name.split("/"))}
        return digest({name: content_digest(file) for name, file in shown.items()})
    state = path.stat()
    return _content_digest(path, state.st_mtime_ns, state.st_size)


@cache
def _content_digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


SHARED = ("base", "hyperparameters")
"""Modules of a room whose change does not count as a change of each module that imports them."""


@cache
def source_digest(code: ModuleType | type) -> str:
    """Digest of a module's source, or of the module of a class, with the modules of its own package that it imports:
    what it does, not how it is laid out or explained (comments, docstrings and white space do not count). The same
    under every version of Python; read once a process, as the code itself is."""
    module = code if isinstance(code, ModuleType) else sys.modules[code.__module__]
    return _hex(" ".join(_source_digest(inspect.getsource(each)) for each in _with_siblings(module)))


def _with_siblings(module: ModuleType) -> list[ModuleType]:
    """The module and, transitively, those of its package that it imports, sorted by name."""
    package = module.__name__.rpartition(".")[0]
    found, ahead = {module.__name__: module}, [module]
    while ahead:
        for name in _imported(ahead.pop()) - found.keys():
            above, _, last = name.rpartition(".")
            if above and above == package and last not in SHARED:
                found[name] = importlib.import_module(name)
                ahead.append(found[name])
    return [found[name] for name in sorted(found)]


def _imported(module: ModuleType) -> set[str]:
    """Names of the modules that a module imports from."""
    nodes = ast.walk(ast.parse(inspect.getsource(module)))
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@cache
def _source_digest(source: str) -> str:
    return _hex("\n".join(_syntax(ast.parse(source))))


def _syntax(node: Any) -> Iterator[str]:
    """A syntax tree as text. Empty fields are left out: later versions of Python add such."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if value is not None and value != []:
                yield name
                yield from _syntax(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            if not _is_text(item):
                yield from _syntax(item)
        yield "]"
    else:
        yield f"{type(node).__name__} {node!r}"


def _is_text(node: Any) -> bool:
    """A docstring, or any other statement that is text alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def code_digest() -> str:
    """Digest of every module of the four packages, as they were when this process first asked: of their text, which
    takes milliseconds where their syntax takes a second."""
    root = Path(__file__).resolve().parent.parent
    files = sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))
    return digest({file.relative_to(root).as_posix(): _hex(file.read_text(encoding="utf-8")) for file in files})
