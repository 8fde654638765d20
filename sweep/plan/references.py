"""The references of a sweep: which model each name stands for, and the sweep that plans it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import methods
from sweep.config import MethodSpec, Range, ReferenceName, Sweep, search_range
from sweep.config.targets import target

COMMON = ("train", "epochs", "data")
"""Sections of a configuration that a method and the references have in common."""


@dataclass(frozen=True)
class Reference:
    """A model that methods are looked at with. vary: names of its own of which it tries every value, the best on
    validation being the reference."""

    entry: MethodSpec
    vary: dict[str, Range] = field(default_factory=dict)


def _entry(label: ReferenceName, method: str, **hyperparameters: float) -> MethodSpec:
    return MethodSpec(method=method, label=label, hyperparameters=hyperparameters)


REFERENCES: dict[ReferenceName, Reference] = {
    "joint": Reference(_entry("joint", "joint", unimodal_loss_weight=0.0)),
    "joint + unimodal losses": Reference(_entry("joint + unimodal losses", "joint", unimodal_loss_weight=1.0)),
    "ensemble": Reference(_entry("ensemble", "ensemble")),
    "best unimodal": Reference(_entry("best unimodal", "unimodal"), {"modality": Range.model_validate("each")}),
}


def reference_sweep(sweep: Sweep, reference: Reference) -> Sweep:
    """Make the sweep a reference's own: without points and fixed hyperparameters, varying what exists for the
    reference; listed, where nothing but its own names varies."""
    entry = reference.entry
    known = methods.get(entry.method).Hyperparameters.model_fields.keys() - entry.hyperparameters.keys()
    kept = {
        name: found
        for name, found in sweep.vary.items()
        if target(name).section != "hyperparameters"
        or (
            target(name).owner is None
            and target(name).hyperparameter in known
            and (found.kind == "each" or search_range(found, name, entry.method) is not None)
        )
    }
    points = list[dict[str, Any]]()
    if not sweep.search:
        kept = {name: found for name, found in kept.items() if target(name).section in COMMON}
        listed = [{n: v for n, v in point.items() if target(n).section in COMMON} for point in sweep.points]
        points = [point for at, point in enumerate(listed) if point and point not in listed[:at]]
    search = sweep.search if kept.keys() - reference.vary.keys() else None
    update = {"methods": [entry], "hyperparameters": {}, "points": points, "vary": kept | reference.vary}
    return sweep.model_copy(update={**update, "search": search})
