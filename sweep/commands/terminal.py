"""What commands write and read alike: mistakes in red, and the words of a command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.registry import Registry
from sweep.commands.console import print_line
from sweep.config import ConfigError, Sweep, load
from sweep.config.problems import COMMAND_LINE, Place, nearest
from sweep.config.yaml_lines import parse
from sweep.runs.records import is_sweep_name

if TYPE_CHECKING:
    from sweep.runs.store import Store


def print_refusals(*registries: Registry[Any]) -> None:
    """Tell of each name that cannot be used, because its file cannot be imported or two classes have it."""
    for registry in registries:
        for sentence in registry.refusals():
            print_line(sentence, style="yellow")


def names_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the words of a command into names and key=value."""
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]


def named_sweeps(options: argparse.Namespace) -> list[Sweep]:
    """Load the sweeps that a command names, with the values that it overrides. Raises ConfigError."""
    names, overrides = names_and_overrides(options.names)
    return load(options.file, names, overrides)


def check_sweep_names(names: Sequence[str]) -> None:
    """Refuse what can name no sweep, as a path. Raises ConfigError."""
    for name in names:
        if not is_sweep_name(name):
            raise ConfigError(f"{name!r} names no sweep: give the name that it has in its file, not a path")


def pull_sweep(store: Store, name: str, events: bool = False) -> Path:
    """Bring what has been written elsewhere of a sweep that has run, and return its folder. Nothing is made: what names
    no sweep, or one that has not run, raises ConfigError. events: TensorBoard's files too."""
    check_sweep_names([name])
    store.pull(name, events=events)
    if not (store.results / name / "index.jsonl").is_file():
        known = sorted(index.parent.name for index in store.results.glob("*/index.jsonl"))
        hint = f"; {nearest(name, known)}" if known else ""
        raise ConfigError(f"{store}/{name} holds no runs: run the sweep first, or give its --results{hint}")
    return store.results / name


def settings(words: Sequence[str]) -> dict[str, Any]:
    """Read key=value words as YAML does. Raises ConfigError for any other word."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is no key=value")
        place = Place(COMMAND_LINE, None, word)
        found[key.removeprefix("data.")] = parse(value, lambda path, line, place=place: place)[0]  # type: ignore[misc]
    return found
