"""Methods of balanced multimodal learning. One method, one module; this page finds them by name."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from methods.base import MULTI, Context, Method, MethodError, Outputs
from methods.hyperparameters import Choice, Hyperparameters, Integer, LogUniform, Uniform, hyper

__all__ = [
    "MULTI",
    "Choice",
    "Context",
    "Hyperparameters",
    "Integer",
    "LogUniform",
    "Method",
    "MethodError",
    "Outputs",
    "Uniform",
    "get",
    "hyper",
    "names",
]

_SHARED = {"base", "hyperparameters", "fused"}


@cache
def _methods() -> dict[str, type[Method]]:
    modules = [
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
        if found.name not in _SHARED
    ]
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    found += [entry.load() for entry in entry_points(group="sweep.methods")]
    return {method.name: method for method in found}


def names() -> list[str]:
    """Names of every method, those of other packages (entry points ``sweep.methods``) included."""
    return sorted(_methods())


def get(name: str) -> type[Method]:
    """The method called ``name``. Raises KeyError naming those that exist."""
    try:
        return _methods()[name]
    except KeyError:
        raise KeyError(f"no method called {name!r}; there are: {', '.join(names())}") from None
