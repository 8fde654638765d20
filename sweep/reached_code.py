"""The code that belongs to a run's identity: every module that its method or dataset reaches by imports.

Counted are the modules of methods/, data/ and the package of a plug-in, the contract modules aside. What a module does
counts, not how it is laid out, explained or where it lies: comments, docstrings and white space are left out, and an
import stands for the definitions that it binds, wherever these are defined. So an edit of any module that a method
reaches changes its digest, and a move without an edit does not."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

DIGITS = 16
"""Hexadecimal digits of every digest."""

PACKAGES = ("data", "methods", "models", "sweep")

COUNTED = frozenset({"data", "methods"})
"""Packages whose modules belong to the identity of what reaches them, beside that of a plug-in."""

CONTRACT = frozenset(
    {
        "methods",
        "methods.base",
        "methods.base.method",
        "methods.base.context",
        "methods.hyperparameters",
        "data",
        "data.base",
        "data.registry",
    }
)
"""Modules that every method or dataset is written against. Their own text counts in no digest, so that a word added
there does not make every result stale; what they import counts as if it were imported directly."""


@dataclass(frozen=True, eq=False)
class Module:
    """A module as text: nothing of it is executed."""

    name: str
    tree: ast.Module
    is_package: bool


@dataclass(frozen=True, order=True)
class Binding:
    """A name that a module binds by an import, and where what it means is defined.

    local: the name in the importing module, or the dotted name under which it reaches into a package. definition: the
    name where it is defined, "" for a module as a whole."""

    local: str
    definition: str
    module: str


def hex_digest(text: str) -> str:
    """16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


@cache
def source_digest(code: ModuleType | type) -> str:
    """Digest of the code of a module, or of the module of a class, with all that it reaches by imports. The same under
    every version of Python; read once a process, as the code itself is. Raises OSError where there is no source."""
    return _digests(_start(code))[_start(code).name]


def reached_modules(code: ModuleType | type) -> list[str]:
    """Names of the modules whose edit changes the digest of a module or class, itself included, sorted."""
    return sorted(set(_reached(_start(code))) - CONTRACT)


def _start(code: ModuleType | type) -> Module:
    module = code if isinstance(code, ModuleType) else sys.modules[code.__module__]
    return Module(module.__name__, ast.parse(inspect.getsource(module)), hasattr(module, "__path__"))


def _digests(start: Module) -> dict[str, str]:
    """Digest of each reached module, with all that it reaches itself."""
    reached = _reached(start)
    own = {name: "" if name in CONTRACT else _own_digest(module) for name, (module, _) in reached.items()}
    digests = own
    # Modules may import each other in circles: a round carries a change one import further, so after as many rounds as
    # there are modules it has come everywhere.
    for _ in reached:
        digests = {
            name: _joined(own[name], [_bound(each, name, digests) for each in bindings])
            for name, (_, bindings) in reached.items()
        }
    return digests


def _bound(binding: Binding, importer: str, digests: dict[str, str]) -> str:
    """A binding as text. How a contract module names what it imports does not count, as its text does not."""
    found = digests.get(binding.module, "")
    return found if importer in CONTRACT else f"{binding.local} {binding.definition} {found}"


def _joined(own: str, bound: list[str]) -> str:
    """One digest of a module's own and of what it binds; none of a contract module that leads nowhere."""
    found = sorted({each for each in bound if each})
    return hex_digest("\n".join([own, *found])) if own or found else ""


def _reached(start: Module) -> dict[str, tuple[Module, list[Binding]]]:
    """Every counted module that ``start`` reaches, and each contract module on the way, with what it binds."""
    ours = _root(start.name)
    found, ahead = dict[str, tuple[Module, list[Binding]]](), [start]
    while ahead:
        module = ahead.pop()
        bindings = _bindings(module, ours)
        found[module.name] = module, bindings
        for binding in bindings:
            if binding.module in found or not _counts(binding.module, ours):
                continue
            if (target := _module(binding.module)) is not None:
                ahead.append(target)
    return found


def _root(name: str) -> str:
    return name.partition(".")[0]


def _counts(name: str, plug_in: str) -> bool:
    return _root(name) in COUNTED or _root(name) == plug_in


def _is_ours(name: str, plug_in: str) -> bool:
    return _root(name) in PACKAGES or _root(name) == plug_in


# Modules -----------------------------------------------------------------------------------------------------------


@cache
def _module(name: str) -> Module | None:
    """A module by its name, read but not imported; None where there is none with a source."""
    spec = _spec(name)
    if spec is None:
        return None
    is_package = spec.submodule_search_locations is not None
    if spec.loader is None or spec.origin is None:  # a folder without __init__
        return Module(name, ast.Module([], []), is_package) if is_package else None
    if not isinstance(spec.loader, SourceFileLoader):
        return None
    source = spec.loader.get_source(name)
    return None if source is None else Module(name, ast.parse(source), is_package)


@cache
def _spec(name: str) -> ModuleSpec | None:
    above, _, _ = name.rpartition(".")
    if not above:
        return find_spec(name)
    parent = _spec(above)
    if parent is None or parent.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, list(parent.submodule_search_locations))


# Imports -----------------------------------------------------------------------------------------------------------


@cache
def _bindings(module: Module, plug_in: str) -> list[Binding]:
    """What a module binds by imports of our packages and of a plug-in's, at its top or anywhere below, sorted."""
    modules = dict[str, str]()
    bound = list(_imported(module, modules, plug_in))
    return sorted({*bound, *_reached_through(module, modules, plug_in)})


def _imported(module: Module, modules: dict[str, str], plug_in: str) -> Iterator[Binding]:
    """What the import statements of a module bind; ``modules`` learns which names are modules as a whole."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _is_ours(alias.name, plug_in):
                    yield Binding(alias.asname or alias.name, "", alias.name)
                    bound = alias.name if alias.asname else _root(alias.name)
                    modules[alias.asname or bound] = bound
        elif isinstance(node, ast.ImportFrom):
            source = _imported_from(node, module)
            if not _is_ours(source, plug_in):
                continue
            for alias in node.names:
                names = _public_names(source) if alias.name == "*" else [alias.name]
                for name in names:
                    local = name if alias.name == "*" else alias.asname or name
                    found = _resolved(source, name, local, plug_in)
                    yield found
                    if not found.definition:
                        modules[local] = found.module


def _reached_through(module: Module, modules: dict[str, str], plug_in: str) -> Iterator[Binding]:
    """What a module takes out of the modules that it binds as a whole: ``forms.sound.log_stft``."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and (chain := _dotted(node)) and chain[0] in modules:
            inside = modules[chain[0]]
            for length, name in enumerate(chain[1:], start=2):
                found = _resolved(inside, name, ".".join(chain[:length]), plug_in)
                yield found
                if found.definition:
                    break
                inside = found.module


def _dotted(node: ast.expr) -> list[str]:
    """``a.b.c`` as its names; empty where something else than names is in it."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (above := _dotted(node.value)):
        return [*above, node.attr]
    return []


def _imported_from(node: ast.ImportFrom, module: Module) -> str:
    """Absolute name of the module that a ``from ... import`` names."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def _resolved(source: str, name: str, local: str, plug_in: str) -> Binding:
    """What ``from source import name`` binds, followed through modules that only pass it on to the one that defines
    it. A name that nobody is seen to define (made at run time) counts as defined where it is asked for."""
    passed = set[tuple[str, str]]()
    while (source, name) not in passed:
        passed.add((source, name))
        found = _module(source)
        if found is None:
            break
        ahead = _next(found, name, plug_in)
        if ahead is None:
            break
        source, name = ahead
        if not name:
            break
    return Binding(local, name, source)


def _next(module: Module, name: str, plug_in: str) -> tuple[str, str] | None:
    """Where a module has a name from: another module and the name there ("": the module itself); None where it defines
    it."""
    for node in reversed(list(_top_level(module.tree.body))):
        if isinstance(node, ast.ImportFrom):
            source = _imported_from(node, module)
            for alias in node.names:
                starred = alias.name == "*" and _is_ours(source, plug_in) and name in _public_names(source)
                if starred or (alias.asname or alias.name) == name:
                    return (source, name if starred else alias.name) if _is_ours(source, plug_in) else None
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or _root(alias.name)) == name:
                    bound = alias.name if alias.asname else _root(alias.name)
                    return (bound, "") if _is_ours(bound, plug_in) else None
        elif name in _defined(node):
            return None
    inner = f"{module.name}.{name}"
    return (inner, "") if module.is_package and _module(inner) is not None else None


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that a module executes in its own name space, those below ``if``, ``try`` and ``with`` included."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _top_level(handler.body)


def _defined(node: ast.stmt) -> set[str]:
    """Names that a statement itself defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return {each.id for target in targets if target for each in ast.walk(target) if isinstance(each, ast.Name)}


def _public_names(source: str, passed: frozenset[str] = frozenset()) -> list[str]:
    """Names that ``from source import *`` binds. passed: modules that lead here, which may do so in a circle."""
    module = _module(source)
    if module is None or source in passed:
        return []
    names = dict[str, None]()
    for node in _top_level(module.tree.body):
        if (
            isinstance(node, ast.Assign)
            and "__all__" in _defined(node)
            and isinstance(node.value, ast.List | ast.Tuple)
        ):
            return [str(each.value) for each in node.value.elts if isinstance(each, ast.Constant)]
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            names |= dict.fromkeys(_public_names(_imported_from(node, module), passed | {source}))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= dict.fromkeys(alias.asname or _root(alias.name) for alias in node.names)
        else:
            names |= dict.fromkeys(_defined(node))
    return [name for name in names if not name.startswith("_")]


# Syntax ------------------------------------------------------------------------------------------------------------


@cache
def _own_digest(module: Module) -> str:
    """Digest of a module's own syntax, without its imports of our packages: those count by what they bind."""
    return hex_digest("\n".join(_syntax(module.tree, module)))


def _syntax(node: Any, module: Module) -> Iterator[str]:
    """A syntax tree as text. Empty fields are left out: later versions of Python add such."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if value is not None and value != []:
                yield name
                yield from _syntax(value, module)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            if not _is_text(item) and not _counts_by_bindings(item, module):
                yield from _syntax(item, module)
        yield "]"
    else:
        yield f"{type(node).__name__} {node!r}"


def _is_text(node: Any) -> bool:
    """A docstring, or any other statement that is text alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _counts_by_bindings(node: Any, module: Module) -> bool:
    plug_in = _root(module.name)
    if isinstance(node, ast.ImportFrom):
        return _is_ours(_imported_from(node, module), plug_in)
    return isinstance(node, ast.Import) and all(_is_ours(alias.name, plug_in) for alias in node.names)
