"""Modules as text, and the names that they bind by imports: where each is defined, found without executing anything.

Followed are imports of our four packages and of a plug-in's: at the top of a module or inside functions, with ``as``,
relative ones, ``import *``, and names that a module only passes on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec

PACKAGES = ("data", "methods", "models", "sweep")
"""Ours, from the bottom up."""


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


def root_package(name: str) -> str:
    """Give the first part of a dotted name."""
    return name.partition(".")[0]


def is_ours(name: str, plug_in: str) -> bool:
    """Tell whether a module lies in our packages, or in the package of a plug-in."""
    return root_package(name) in PACKAGES or root_package(name) == plug_in


@cache
def read_module(name: str) -> Module | None:
    """Read a module by its name without importing it; None where there is none with a source."""
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


@cache
def import_bindings(module: Module, plug_in: str) -> list[Binding]:
    """List what a module binds by imports of our packages and of a plug-in's, at its top or below, sorted."""
    modules = dict[str, str]()
    bound = list(_imported(module, modules, plug_in))
    return sorted({*bound, *_reached_through(module, modules, plug_in)})


def _imported(module: Module, modules: dict[str, str], plug_in: str) -> Iterator[Binding]:
    """Yield what import statements bind; ``modules`` learns which names are modules as a whole."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if is_ours(alias.name, plug_in):
                    yield Binding(alias.asname or alias.name, "", alias.name)
                    bound = alias.name if alias.asname else root_package(alias.name)
                    modules[alias.asname or bound] = bound
        elif isinstance(node, ast.ImportFrom):
            source = source_module(node, module)
            if not is_ours(source, plug_in):
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
    """Yield what a module takes out of the modules that it binds as a whole: ``forms.sound.log_stft``."""
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
    """Part ``a.b.c`` into its names; empty where something else than names is in it."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (above := _dotted(node.value)):
        return [*above, node.attr]
    return []


def source_module(node: ast.ImportFrom, module: Module) -> str:
    """Give the absolute name of the module that a ``from ... import`` names."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def _resolved(source: str, name: str, local: str, plug_in: str) -> Binding:
    """Follow ``from source import name`` through modules that only pass the name on to the one that defines it. A name
    that nobody is seen to define (made at run time) counts as defined where it is asked for."""
    passed = set[tuple[str, str]]()
    while name and (source, name) not in passed:
        passed.add((source, name))
        found = read_module(source)
        if found is None:
            break
        ahead = _next(found, name, plug_in)
        if ahead is None:
            break
        source, name = ahead
    return Binding(local, name, source)


def _next(module: Module, name: str, plug_in: str) -> tuple[str, str] | None:
    """Tell where a module has a name from: another module and the name there ("": that module itself); None where it
    defines it."""
    for node in reversed(list(_top_level(module.tree.body))):
        if isinstance(node, ast.ImportFrom):
            source = source_module(node, module)
            for alias in node.names:
                starred = alias.name == "*" and is_ours(source, plug_in) and name in _public_names(source)
                if starred or (alias.asname or alias.name) == name:
                    return (source, name if starred else alias.name) if is_ours(source, plug_in) else None
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if (alias.asname or root_package(alias.name)) == name:
                    bound = alias.name if alias.asname else root_package(alias.name)
                    return (bound, "") if is_ours(bound, plug_in) else None
        elif name in _defined(node):
            return None
    inner = f"{module.name}.{name}"
    return (inner, "") if module.is_package and read_module(inner) is not None else None


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that a module executes in its own name space, below ``if``, ``try`` and ``with`` too."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _top_level(handler.body)


def _defined(node: ast.stmt) -> set[str]:
    """Collect the names that a statement itself defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return {each.id for target in targets if target for each in ast.walk(target) if isinstance(each, ast.Name)}


def _public_names(source: str, passed: frozenset[str] = frozenset()) -> list[str]:
    """List the names that ``from source import *`` binds. passed: modules that lead here, perhaps in a circle."""
    module = read_module(source)
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
            names |= dict.fromkeys(_public_names(source_module(node, module), passed | {source}))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= dict.fromkeys(alias.asname or root_package(alias.name) for alias in node.names)
        else:
            names |= dict.fromkeys(_defined(node))
    return [name for name in names if not name.startswith("_")]
