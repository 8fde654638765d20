"""Check that every name in ``vary``, ``points`` and ``hyperparameters`` sets something."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import data
import methods
from sweep.config.problems import Path, Problem, nearest
from sweep.config.resolve import Target, modalities_of, target
from sweep.config.schema import Sweep
from sweep.training.recipe import Recipe


def check_name(sweep: Sweep, name: str, path: Path) -> Iterator[Problem]:
    """Find what is wrong with ``name``, written at ``path``: without a method before it, every method must know it."""
    aim = target(name)
    if path[0] == "hyperparameters" and aim.section != "hyperparameters":
        yield sweep.problem(path, f"{name} is no hyperparameter", f"write it under {aim.section}")
        return
    owners = _owners(sweep, aim)
    if aim.owner is not None and owners and aim.owner not in owners:
        what = "dataset" if aim.section == "data" else "method"
        sections = ["train", "data", "encoders"] if what == "method" else []
        hint = nearest(aim.owner, [*owners, *sections])
        yield sweep.problem(path, f"no {what} of this sweep is called {aim.owner!r}", hint)
        return
    first = aim.path[0] if aim.path else ""
    for what, known in _known(sweep, aim):
        if first not in known:
            bare = path[0] != "hyperparameters" and aim.section == "hyperparameters" and aim.owner is None
            hint = nearest(first, [*known, "epochs"] if bare else known)
            having = (
                [owner for owner in owners if first in _hyperparameters(owner)]
                if aim.section == "hyperparameters"
                else []
            )
            if having and aim.owner is None:
                hint = f"write {having[0]}.{first} where {having[0]} alone is meant"
            yield sweep.problem(path, f"no {what} called {first!r}", hint)
            return


def _owners(sweep: Sweep, aim: Target) -> list[str]:
    if aim.section == "data":
        return sweep.datasets
    return list(dict.fromkeys(entry.method for entry in sweep.methods)) if aim.section == "hyperparameters" else []


def _known(sweep: Sweep, aim: Target) -> list[tuple[str, list[str]]]:
    """List, for each one that a name must mean something to, the word for it there and the names there are."""
    owners = [owner for owner in _owners(sweep, aim) if aim.owner in (None, owner)]
    if aim.section == "hyperparameters":
        return [(f"hyperparameter of {method}", _hyperparameters(method)) for method in owners]
    if aim.section == "data":
        return [(f"option of {dataset}", list(data.get(dataset).Options.model_fields)) for dataset in owners]
    if aim.section == "train":
        return [("key of train", list(Recipe.model_fields))]
    return [("modality", modalities(sweep))] if aim.section == "encoders" else []


def _hyperparameters(method: str) -> list[str]:
    return list(methods.get(method).Hyperparameters.model_fields)


def check_encoders(sweep: Sweep) -> Iterator[Problem]:
    """Find modalities that no dataset has. The file may speak of those of other datasets than this call's, the command
    line speaks of this call."""
    used = modalities(sweep)
    others = {modality for name in data.names() for modality in modalities_of(name, sweep.data.get(name, {}))}
    for modality in sweep.encoders:
        path = ("encoders", modality)
        spare = not sweep.from_command_line(path) and (modality in others or sweep.from_command_line(("datasets",)))
        if modality not in used and not spare:
            yield sweep.problem(path, f"no modality called {modality!r}", nearest(modality, used))


def modalities(sweep: Sweep) -> list[str]:
    """List the modalities of the datasets of a sweep."""
    found = (modalities_of(name, sweep.data.get(name, {})) for name in sweep.datasets)
    return list(dict.fromkeys(itertools.chain.from_iterable(found)))
