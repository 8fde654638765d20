"""From a sweep to what is trained: the settings of one method on one dataset, every default filled in.

Weakest first: the platform's defaults, the recipe of the dataset, the defaults of the file, the sweep, the command
line (these three are one by now), the fixed hyperparameters of a method's entry, the varied values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import ValidationError

import data
import methods
from data.base import DatasetOptions, DatasetSource
from methods.base import MethodError
from methods.hyperparameters import Hyperparameters
from models import encoders
from sweep.config.conditions import normalised
from sweep.config.merge import renamed
from sweep.config.messages import explain
from sweep.config.problems import ConfigError, Path, Problem
from sweep.config.schema import MethodSpec, Sweep
from sweep.recipe import Recipe

EPOCHS = 30
"""Passes over the training set where neither sweep nor dataset says how many."""


@dataclass(frozen=True)
class Target:
    """What a varied name sets. owner: the one method or dataset that it is for; None: every one of the sweep."""

    room: Literal["hyperparameters", "train", "data", "encoders", "epochs"]
    owner: str | None
    path: tuple[str, ...]

    def concerns(self, method: str, dataset: str) -> bool:
        return self.owner in (None, dataset if self.room == "data" else method)


@cache
def target(name: str) -> Target:
    """What ``name`` sets: ``alpha``, ``iprm.alpha``, ``train.lr``, ``train.schedule.every``, ``data.image_noise``,
    ``data.av_digits.image_noise``, ``encoders.left.width``, ``epochs``."""
    first, *rest = name.split(".")
    if first == "epochs" and not rest:
        return Target("epochs", None, ("epochs",))
    if first == "train":
        return Target("train", None, tuple(rest))
    if first == "encoders":
        return Target("encoders", None, tuple(rest))
    if first == "data":
        return Target("data", rest[0] if len(rest) > 1 else None, tuple(rest[-1:]))
    return Target("hyperparameters", first if rest else None, tuple(rest[-1:]) or (first,))


def varied(sweep: Sweep, method: str, dataset: str) -> list[str]:
    """Names in ``vary`` that concern one study."""
    return [name for name in sweep.vary if _concerns(sweep, name, method, dataset)]


def point_values(sweep: Sweep, point: Mapping[str, Any], method: str, dataset: str) -> dict[str, Any] | None:
    """What a point sets in one study; None where all of it is for others."""
    found = {name: value for name, value in point.items() if _concerns(sweep, name, method, dataset)}
    return found if found or not point else None


def _concerns(sweep: Sweep, name: str, method: str, dataset: str) -> bool:
    aim = target(name)
    if aim.room == "encoders":
        return aim.path[:1] == () or aim.path[0] in modalities_of(dataset, sweep.data.get(dataset, {}))
    return aim.concerns(method, dataset)


def modalities_of(dataset: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Modalities of a dataset; none where its options are wrong or incomplete, which is said elsewhere."""
    source = data.get(dataset)
    try:
        return source.modalities(source.Options.model_validate(options))
    except ValueError:
        return ()


At = Callable[[str], Path]
"""Where the value of a varied name was written."""


@dataclass(frozen=True)
class Settings:
    """What one method trains with on one dataset, but for the seed. A hyperparameter without effect has its default."""

    hyperparameters: Hyperparameters
    options: DatasetOptions
    modalities: tuple[str, ...]
    encoders: dict[str, dict[str, Any]]
    train: Recipe
    epochs: int


def budget(sweep: Sweep, dataset: str) -> int:
    """Epochs of a run that varies them not."""
    return int(sweep.epochs or data.get(dataset).recipe.get("epochs", EPOCHS))


def fixed(sweep: Sweep, entry: MethodSpec, dataset: str) -> dict[str, Any]:
    """Hyperparameters that the sweep or the method's entry fixes."""
    own = {target(name).path[0]: value for name, value in sweep.hyperparameters.items()
           if target(name).concerns(entry.method, dataset)}  # fmt: skip
    return own | entry.hyperparameters


class _Layers:
    """Values put over one another, and where each came from."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[Path, Path] = {}

    def put(self, path: tuple[str, ...], value: Any, source: Path, room: str = "") -> None:
        """room "train", "encoders": the options of a schedule or an encoder of the same name merge."""
        at = self.values
        for part in path[:-1]:
            inner = at.get(part)
            at[part] = dict(inner) if isinstance(inner, Mapping) else {}
            at = at[part]
        below = at.get(path[-1])
        if room and isinstance(value, Mapping) and isinstance(below, dict) and not renamed((room,), below, value):
            value = {**below, **value}
        at[path[-1]] = value
        self.sources[path] = source

    def source(self, path: Path, base: Path) -> Path:
        """Where the value at ``path`` was written; ``base`` where it was not."""
        for size in range(len(path), 0, -1):
            if path[:size] in self.sources:
                return self.sources[path[:size]] + path[size:]
        return base + path


def resolve(sweep: Sweep, entry: MethodSpec, dataset: str, values: Mapping[str, Any], at: At) -> Settings:
    """The settings of ``entry`` on ``dataset`` with the varied ``values``. Raises ConfigError with every mistake."""
    problems: list[Problem] = []
    source = data.get(dataset)
    layers = {room: _layers(room, sweep, entry, source, values, at) for room in ("data", "train", "hyperparameters")}

    def build(room: str, model: type[Any], base: Path, noun: str) -> Any:
        found = layers[room]
        try:
            return model.model_validate(found.values)
        except ValidationError as error:
            for wrong in explain(error, model, found.values, noun):
                problems.append(sweep.problem(found.source(wrong.path, base), wrong.message, wrong.suggestion))
        return None

    own = (*sweep.entry_path(entry), "hyperparameters")
    kind = methods.get(entry.method).Hyperparameters
    options = build("data", source.Options, ("data", dataset), f"option of {dataset}")
    train = build("train", Recipe, ("train",), "key of train")
    hyperparameters = build("hyperparameters", kind, own, f"hyperparameter of {entry.method}")
    epochs = values.get("epochs", budget(sweep, dataset))
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        problems.append(sweep.problem(at("epochs"), f"expected a whole number of at least 1, not {epochs!r}"))
    if train is not None:
        problems += _check_batches(sweep, train, layers["train"])
    modalities: tuple[str, ...] = ()
    specs: dict[str, dict[str, Any]] = {}
    if options is not None:
        try:
            modalities = source.modalities(options)
            specs = _encoders(sweep, source.encoders(options), values, at, problems)
        except ValueError as error:
            problems.append(sweep.problem(("data", dataset), str(error)))
    if problems:
        raise ConfigError(problems)
    return Settings(normalised(hyperparameters), options, modalities, specs, train, epochs)


def _layers(
    room: str, sweep: Sweep, entry: MethodSpec, source: type[DatasetSource], values: Mapping[str, Any], at: At
) -> _Layers:
    found = _Layers()
    if room == "data":
        for name, value in sweep.data.get(source.name, {}).items():
            found.put((name,), value, ("data", source.name, name))
    elif room == "train":
        found.values |= {name: value for name, value in source.recipe.items() if name != "epochs"}
        for name, value in sweep.train.items():
            found.put((name,), value, ("train", name), "train")
    else:
        for name, value in sweep.hyperparameters.items():
            if target(name).concerns(entry.method, source.name):
                found.put(target(name).path, value, ("hyperparameters", name))
        for name, value in entry.hyperparameters.items():
            found.values[name] = value
            found.sources[(name,)] = (*sweep.entry_path(entry), "hyperparameters", name)
    for name, value in values.items():
        aim = target(name)
        if aim.room == room and aim.concerns(entry.method, source.name):
            found.put(aim.path, value, at(name), room if room == "train" else "")
    return found


def _encoders(
    sweep: Sweep, defaults: Mapping[str, Any], values: Mapping[str, Any], at: At, problems: list[Problem]
) -> dict[str, dict[str, Any]]:
    """Encoder of each modality: the dataset's, with what the sweep says of it."""
    layers = _Layers()
    for modality, spec in defaults.items():
        layers.values[modality] = {"name": spec} if isinstance(spec, str) else dict(spec)
    for modality, spec in sweep.encoders.items():
        if modality in defaults:
            layers.put((modality,), spec, ("encoders", modality), "encoders")
    for name, value in values.items():
        aim = target(name)
        if aim.room == "encoders" and aim.path[0] in defaults:
            whole = {"name": value} if len(aim.path) == 1 and isinstance(value, str) else value
            layers.put(aim.path, whole, at(name), "encoders")
    found = {}
    for modality in defaults:
        try:
            found[modality] = encoders.resolve(layers.values[modality])
        except ValueError as error:
            varied_here = [name for name in values if name.startswith(f"encoders.{modality}")]
            path = at(varied_here[0]) if varied_here else ("encoders", modality)
            problems.append(sweep.problem(path, str(error)))
    return found


def _check_batches(sweep: Sweep, train: Recipe, layers: _Layers) -> Iterator[Problem]:
    workers, batch = sweep.resources.workers, train.batch_size
    path = layers.source(("batch_size",), ("resources", "workers"))
    if batch % workers:
        near = max(2, batch // workers) * workers
        yield sweep.problem(
            path, f"a batch of {batch} samples cannot be shared evenly by {workers} workers", f"{near} can"
        )
    elif batch < 2 * workers:
        yield sweep.problem(
            path, f"a batch of {batch} gives a worker fewer than 2 samples", f"use at least {2 * workers}"
        )


def refusal(entry: MethodSpec, dataset: str, settings: Settings) -> str | None:
    """Why the method is not defined for the dataset's modalities with these hyperparameters; None where it is."""
    try:
        methods.get(entry.method).check(settings.hyperparameters, settings.modalities)
    except MethodError as error:
        return f"{error} (dataset {dataset})"
    return None
