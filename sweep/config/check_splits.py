"""Check the splits that a sweep is repeated on: that its datasets have them, and that nothing else sets them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import data
from data.base import SPLIT_SEED
from sweep.config.problems import Path, Problem
from sweep.config.schema import Sweep
from sweep.config.targets import target


def check_splits(sweep: Sweep) -> Iterator[Problem]:
    """Find datasets without a ``split_seed``, and other places that set it beside ``splits``. It is never varied: the
    split on which validation is easiest is no choice."""
    for dataset in sweep.datasets if sweep.splits else ():
        if SPLIT_SEED not in data.get(dataset).Options.model_fields:
            what = f"{dataset} has no {SPLIT_SEED}: its splits are always the same"
            yield sweep.problem(("splits",), what, f"leave splits out, or the dataset {dataset}")
        elif SPLIT_SEED in sweep.data.get(dataset, {}):
            path: Path = ("data", dataset, SPLIT_SEED)
            yield sweep.problem(path, "splits sets it too", "keep one of them")
    for name, found in sweep.vary.items():
        if _is_split_seed(name):
            yield _varied(sweep, ("vary", name), found.values)
    for position, point in enumerate(sweep.points):
        for name in filter(_is_split_seed, point):
            yield _varied(sweep, ("points", position, name), [point[name]])


def _varied(sweep: Sweep, path: Path, values: list[Any]) -> Problem:
    what = "splits are no part of a configuration: what is chosen is chosen on each of them alone"
    return sweep.problem(path, what, f"write splits: {values} beside seeds")


def _is_split_seed(name: str) -> bool:
    aim = target(name)
    return aim.section == "data" and aim.path == (SPLIT_SEED,)
