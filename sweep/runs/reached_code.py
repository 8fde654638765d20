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
from functools import cache
from types import ModuleType
from typing import Any

from sweep.runs.module_imports import (
    Binding,
    Module,
    import_bindings,
    is_ours,
    read_module,
    root_package,
    source_module,
)

DIGITS = 16
"""Hexadecimal digits of every digest."""


COUNTED = frozenset({"data", "methods"})
"""Packages whose modules belong to the identity of what reaches them, beside that of a plug-in."""

CONTRACT = frozenset(
    {
        "methods",
        "methods.base",
        "methods.base.method",
        "methods.base.context",
        "methods.base.hyperparameters",
        "data",
        "data.base",
        "data.base.corruption",
        "data.base.dataset",
        "data.base.placement",
        "data.base.source",
        "data.registry",
    }
)
"""Modules that every method or dataset is written against. Their own text counts in no digest, so that a word added
there does not make every result stale; what they import counts as if it were imported directly."""


def hex_digest(text: str) -> str:
    """Give 16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


@cache
def source_digest(code: ModuleType | type) -> str:
    """Digest the code of a module, or of the module of a class, with all that it reaches by imports.

    The same under every version of Python; read once a process, as the code itself is. Raises OSError where there is no
    source."""
    start = _start(code)
    return _digests(start)[start.name]


def reached_modules(code: ModuleType | type) -> list[str]:
    """List the modules whose edit changes the digest of a module or class, itself included, sorted by name."""
    return sorted(set(_reached(_start(code))) - CONTRACT)


def _start(code: ModuleType | type) -> Module:
    module = code if isinstance(code, ModuleType) else sys.modules[code.__module__]
    return Module(module.__name__, ast.parse(inspect.getsource(module)), hasattr(module, "__path__"))


def _digests(start: Module) -> dict[str, str]:
    """Digest each reached module, with all that it reaches itself."""
    reached = _reached(start)
    own = {name: "" if name in CONTRACT else _own_digest(module) for name, (module, _) in reached.items()}
    digests = own
    # Modules may import each other in circles: a round carries a change one import further, so after as many rounds as
    # there are modules it has come everywhere. Contract modules are counted as the two that there were at first: their
    # number must not show in the digest of a circle.
    for _ in range(2 + len(reached.keys() - CONTRACT)):
        digests = {
            name: _joined(own[name], [_bound(each, name, digests) for each in bindings])
            for name, (_, bindings) in reached.items()
        }
    return digests


def _bound(binding: Binding, importer: str, digests: dict[str, str]) -> str:
    """Give a binding as text. How a contract module names what it imports does not count, as its text does not."""
    found = digests.get(binding.module, "")
    return found if importer in CONTRACT else f"{binding.local} {binding.definition} {found}"


def _joined(own: str, bound: list[str]) -> str:
    """Join a module's own digest and those of what it binds; "" of a contract module that leads nowhere."""
    found = sorted({each for each in bound if each})
    return hex_digest("\n".join([own, *found])) if own or found else ""


def _reached(start: Module) -> dict[str, tuple[Module, list[Binding]]]:
    """Find every counted module that ``start`` reaches, and each contract module on the way, with what it binds."""
    ours = root_package(start.name)
    found, ahead = dict[str, tuple[Module, list[Binding]]](), [start]
    while ahead:
        module = ahead.pop()
        bindings = import_bindings(module, ours)
        found[module.name] = module, bindings
        for binding in bindings:
            if binding.module in found or not _counts(binding.module, ours):
                continue
            if (target := read_module(binding.module)) is not None:
                ahead.append(target)
    return found


def _counts(name: str, plug_in: str) -> bool:
    return root_package(name) in COUNTED or root_package(name) == plug_in


# Syntax ------------------------------------------------------------------------------------------------------------


@cache
def _own_digest(module: Module) -> str:
    """Digest a module's own syntax, without its imports of our packages: those count by what they bind."""
    text = list[str]()
    _write_syntax(module.tree, module, text)
    return hex_digest("\n".join(text))


def _write_syntax(node: Any, module: Module, text: list[str]) -> None:
    """Write a syntax tree as text. Empty fields are left out: later versions of Python add such."""
    if isinstance(node, ast.AST):
        text.append(f"({type(node).__name__}")
        for name, value in ast.iter_fields(node):
            if value is not None and value != []:
                text.append(name)
                _write_syntax(value, module, text)
        text.append(")")
    elif isinstance(node, list):
        text.append("[")
        for item in node:
            if not _is_text(item) and not _counts_by_bindings(item, module):
                _write_syntax(item, module, text)
        text.append("]")
    else:
        text.append(f"{type(node).__name__} {node!r}")


def _is_text(node: Any) -> bool:
    """Tell a docstring, or any other statement that is text alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _counts_by_bindings(node: Any, module: Module) -> bool:
    plug_in = root_package(module.name)
    if isinstance(node, ast.ImportFrom):
        return is_ours(source_module(node, module), plug_in)
    return isinstance(node, ast.Import) and all(is_ours(alias.name, plug_in) for alias in node.names)
