"""The splits of a sweep: what it repeats everything on, each as a sweep of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import data
from data.base import SPLIT_SEED, DataError, DatasetOptions
from sweep.config import Problem, Sweep


def each_split(sweep: Sweep) -> list[Sweep]:
    """Give the sweep on each of its splits alone: with that ``split_seed`` in its data; itself where it names none."""
    return [
        sweep.model_copy(
            update={
                "splits": [split],
                "data": {**sweep.data, **{d: {**sweep.data.get(d, {}), SPLIT_SEED: split} for d in sweep.datasets}},
            }
        )
        for split in sweep.splits
    ] or [sweep]


def split_of_data(sweep: Sweep, dataset: str) -> int | None:
    """Return the ``split_seed`` that a sweep of :func:`each_split` gives a dataset; None where that has none."""
    options = data.get(dataset).Options
    if SPLIT_SEED not in options.model_fields:
        return None
    return int(sweep.data.get(dataset, {}).get(SPLIT_SEED, default_split(options)[SPLIT_SEED]))


def default_split(options: type[DatasetOptions]) -> dict[str, Any]:
    """Return the option that a dataset splits by, at its default."""
    return {SPLIT_SEED: options.model_fields[SPLIT_SEED].get_default()}


def split_problems(sweep: Sweep, dataset: str, options: DatasetOptions) -> Iterator[Problem]:
    """Find that ``splits`` would repeat the same: the dataset's ``split_seed`` draws nothing."""
    if not sweep.splits:
        return
    try:
        draws = data.get(dataset).split_draws(options)
    except DataError:  # said where the data is looked at
        return
    if draws == "nothing":
        message = f"{dataset} brings its own splits: its {SPLIT_SEED} draws nothing"
        yield sweep.problem(("splits",), message, f"leave splits out, or the dataset {dataset}")
