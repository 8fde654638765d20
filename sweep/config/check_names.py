"""Check that every name in ``vary``, ``points`` and ``hyperparameters`` sets something."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import data
import methods
from sweep.config.nested import containers
from sweep.config.problems import Path, Problem, nearest
from sweep.config.resolve import modalities_of
from sweep.config.schema import Sweep
from sweep.config.targets import Target, target
from sweep.training.recipe import Recipe


def check_name(sweep: Sweep, name: str, path: Path) -> Iterator[Problem]:
    """Find what is wrong with ``name``, written at ``path``: without a method before it, every method must know it."""
    aim = target(name)
    if path[0] == "hyperparameters" and aim.section != "hyperparameters":
        yield sweep.problem(path, f"{name} is no hyperparameter", f"write it under {aim.section}")
        return
    owners = _owners(sweep, aim)
    if aim.hyperparameter is not None and aim.owner is None and len(aim.path) > 1:
        yield from _check_part(sweep, aim, path, owners)
        return
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
            having = _having(first, owners) if aim.section == "hyperparameters" else []
            if having and aim.owner is None:
                hint = f"write {having[0]}.{first} where {having[0]} alone is meant"
            yield sweep.problem(path, f"no {what} called {first!r}", hint)
            return
    if aim.hyperparameter is not None and len(aim.path) > 1:
        yield from _check_keys(sweep, aim, path, [owner for owner in owners if aim.owner == owner])


def _check_part(sweep: Sweep, aim: Target, path: Path, owners: list[str]) -> Iterator[Problem]:
    """Find what is wrong with a name of several parts that begins with no method: a part of a hyperparameter."""
    first, rest = aim.path[0], ".".join(aim.path[1:])
    having = _having(first, owners)
    if having and having != owners:
        lacking = next(owner for owner in owners if owner not in having)
        hint = f"write {having[0]}.{first}.{rest} where {having[0]} alone is meant"
        yield sweep.problem(path, f"no hyperparameter of {lacking} called {first!r}", hint)
    elif having:
        yield from _check_keys(sweep, aim, path, owners)
    elif owners:
        parted = [name for owner in owners for name in _hyperparameters(owner) if _containers(owner, name)]
        sections = [] if path[0] == "hyperparameters" else ["train", "data", "encoders"]
        hint = nearest(first, [*owners, *sections, *dict.fromkeys(parted)])
        yield sweep.problem(path, f"no method or mapping of this sweep is called {first!r}", hint)


def _check_keys(sweep: Sweep, aim: Target, path: Path, owners: list[str]) -> Iterator[Problem]:
    """Find what is wrong with the parts of a name below a hyperparameter: its keys or position."""
    first, key = aim.path[:2]
    for owner in owners:
        kinds = _containers(owner, first)
        if not kinds:
            yield sweep.problem(path, f"{first} of {owner} is no mapping, so nothing lies below it", f"write {first}")
            return
        if dict not in kinds and not key.isdecimal():
            hint = f"write {first}.0 for its first entry"
            yield sweep.problem(path, f"{first} of {owner} is a list, so it has no {key!r}", hint)
            return
        if dict in kinds and key not in (known := _keys(sweep, owner, first)):
            yield sweep.problem(path, f"{first} of {owner} has no {key!r}", nearest(key, known))
            return


def _keys(sweep: Sweep, method: str, hyperparameter: str) -> list[str]:
    """List the keys that a mapping may have: those of its default and of what the sweep fixes, and every modality."""
    default = methods.get(method).Hyperparameters.model_fields[hyperparameter].get_default()
    fixed = [sweep.hyperparameters, *(entry.hyperparameters for entry in sweep.methods if entry.method == method)]
    written = [found.get(name) for found in fixed for name in (hyperparameter, f"{method}.{hyperparameter}")]
    return list(
        dict.fromkeys(
            key
            for each in (modalities(sweep), default, *written)
            if not isinstance(each, str) and isinstance(each, Iterable)
            for key in each
        )
    )


def _having(hyperparameter: str, owners: list[str]) -> list[str]:
    return [owner for owner in owners if hyperparameter in _hyperparameters(owner)]


def _containers(method: str, hyperparameter: str) -> set[type]:
    return containers(methods.get(method).Hyperparameters.model_fields[hyperparameter].annotation)


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
        if used and modality not in used and not spare:  # none: of a dataset whose own options are refused
            yield sweep.problem(path, f"no modality called {modality!r}", nearest(modality, used))


def modalities(sweep: Sweep) -> list[str]:
    """List the modalities of the datasets of a sweep."""
    found = (modalities_of(name, sweep.data.get(name, {})) for name in sweep.datasets)
    return list(dict.fromkeys(itertools.chain.from_iterable(found)))
