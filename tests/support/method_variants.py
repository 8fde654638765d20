"""The variants in which the suite of all methods trains each of them: how they are declared, where they are found.

A method's tests file ``tests/methods/test_NAME.py`` declares them as ``VARIANTS``, a list of :class:`Variant`. The
method's defaults are always one of them; a declaration called ``defaults`` takes their place."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

METHODS_TESTS = Path(__file__).resolve().parents[1] / "methods"
DEFAULTS = "defaults"


@dataclass(frozen=True, eq=False)
class Variant:
    """One setting of a method's hyperparameters that the suite trains."""

    name: str
    """A few words joined by hyphens, different for each variant of a method."""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    modalities: int = 2
    path: str = ""
    """The code path that the variant stands for; empty: one of its own. Only the first variant of a path is trained by
    two workers and resumed. So variants share a path where what they differ in treats each sample by itself, draws no
    random numbers and keeps no state."""
    epochs: int = 4
    """Epochs of the runs by which workers are compared, and resumed runs."""
    epochs_to_learn: int = 6
    """Epochs after which the accuracy is above chance."""
    method: str = ""
    """Filled in by :func:`declared_variants`."""

    def __str__(self) -> str:
        return f"{self.method}-{self.name}"


def declared_variants(method: str, folder: Path = METHODS_TESTS) -> list[Variant]:
    """Return the variants of ``method``, its defaults first. Raises ValueError where two have one name."""
    found = _declarations(folder / f"test_{method}.py")
    if all(variant.name != DEFAULTS for variant in found):
        found = [Variant(DEFAULTS), *found]
    names = [variant.name for variant in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"variants of {method} that have one name: {', '.join(twice)}")
    return [replace(variant, method=method) for variant in found]


def first_of_each_path(variants: Iterable[Variant]) -> list[Variant]:
    """Return one variant, the first, of each code path of each method."""
    found: dict[tuple[str, str], Variant] = {}
    for variant in variants:
        found.setdefault((variant.method, variant.path or variant.name), variant)
    return list(found.values())


def _declarations(file: Path) -> list[Variant]:
    """Return what a tests file declares; nothing where there is no such file."""
    if not file.exists():
        return []
    # By its path: the folder tests/methods is shadowed by the package methods.
    spec = importlib.util.spec_from_file_location(f"variants_of_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(getattr(module, "VARIANTS", []))
