"""Methods of balanced multimodal learning. One method, one module or package of this folder; found by name."""

from __future__ import annotations

from data.registry import Registry
from methods.base import MULTI, Context, Method, MethodError, Outputs
from methods.base.hyperparameters import Choice, Hyperparameters, Integer, LogUniform, Uniform, hyper

__all__ = [
    "METHODS",
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
    "refusal",
]

METHODS: Registry[Method] = Registry(__name__, Method, "sweep.methods", "method")  # type: ignore[type-abstract]


def names() -> list[str]:
    """List the methods that can be used, those of other packages (entry points ``sweep.methods``) included."""
    return METHODS.names()


def get(name: str) -> type[Method]:
    """Find the method called ``name``.

    Raises UnusableError where its file cannot be imported or another has its name, KeyError naming those that exist
    where there is none."""
    return METHODS.get(name)


def refusal(name: str) -> str | None:
    """Say why the method called ``name`` cannot be used although it is there; None where nothing is wrong with it."""
    return METHODS.refusal(name)
