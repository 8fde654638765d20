"""What ``show``, and a ``run`` with nothing to do, need of a sweep's plan. It is kept beside the sweep's index: to
import torch and all that declares methods and datasets, and to plan, takes seconds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sweep.commands.answer_origins import depends_on_files_elsewhere, digest_of, file_digests, is_local_sweep, program
from sweep.storage.kept_files import read_kept, write_kept
from sweep.training.epoch_record import Record

if TYPE_CHECKING:
    from sweep.plan.configurations import Plan

FILE = ".outline"
"""In the folder of a sweep."""


class OutlinedConfiguration(Record):
    """A configuration that is known before training, in words; seeds: hash of each of its runs -> seed."""

    label: str
    values: str
    dataset: str
    seeds: dict[str, int]


class LeftOut(Record):
    """A configuration that its method refuses, in words."""

    label: str
    values: str
    dataset: str
    reason: str


class Outline(Record):
    """A plan in words. frozen: the text of its sweep.yaml. expected: how many runs it has, may_end_sooner: or fewer.
    is_listed: all of them are known before training, as nothing is proposed, chosen, or left for another day."""

    name: str
    title: str | None
    reproduces: str | None
    frozen: str
    expected: int | None
    may_end_sooner: bool
    is_listed: bool
    configurations: list[OutlinedConfiguration]
    left_out: list[LeftOut]

    @property
    def hashes(self) -> set[str]:
        """Return the hash of every run."""
        return {run_hash for configuration in self.configurations for run_hash in configuration.seeds}


def outline(plan: Plan) -> Outline:
    """Put a plan into words; a run that it names twice is of the configuration that names it first."""
    from sweep.config import freeze

    sweep = plan.sweep
    return Outline(
        name=sweep.name,
        title=sweep.title,
        reproduces=sweep.reproduces,
        frozen=freeze(sweep),
        expected=plan.expected_runs(),
        may_end_sooner=plan.may_end_sooner,
        is_listed=not (plan.searches or sweep.budget or sweep.report_seeds),
        configurations=list(_configurations(plan)),
        left_out=[
            LeftOut(label=each.label, values=_words(each.values), dataset=each.dataset, reason=each.reason)
            for each in plan.not_applicable
        ],
    )


def _configurations(plan: Plan) -> Iterator[OutlinedConfiguration]:
    seen = set[str]()
    for each in plan.listed:
        seeds = {run_hash: run.seed for run, run_hash in each.hashed_runs(plan.seeds) if run_hash not in seen}
        seen.update(seeds)
        yield OutlinedConfiguration(label=each.label, values=_words(each.values), dataset=each.dataset, seeds=seeds)


def _words(values: dict[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


class OutlineKeeper:
    """Keeps outlines of the sweeps that a command names. To be made before the command reads anything."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._results = Path(options.results)
        overrides = [word for word in options.names if "=" in word]
        self._names = [word for word in options.names if "=" not in word and is_local_sweep(options.results, word)]
        texts = file_digests([options.file])
        self._questions = {name: digest_of(name, overrides, texts, program()) for name in self._names}

    def known(self, name: str) -> Outline | None:
        """Return what was kept of a sweep; None where that is nothing, or anything that it came from has changed."""
        if name not in self._questions:
            return None
        content = read_kept(self._results / name / FILE, self._questions[name])
        try:
            return None if content is None else Outline.model_validate_json(content)
        except ValidationError:
            return None

    def keep(self, plan: Plan, outline: Outline) -> None:
        """Keep the outline of a plan, where it may be kept."""
        if outline.name in self._questions and not depends_on_files_elsewhere(plan.sweep):
            content = outline.model_dump_json().encode()
            write_kept(self._results / outline.name / FILE, self._questions[outline.name], content)
