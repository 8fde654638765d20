"""Outlines of the sweeps that a command names, as it asks for them: with values that it overrides."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.commands.answer_origins import depends_on_files_elsewhere, digest_of, file_digests, is_local_sweep
from sweep.results.outline import LeftOut, Outline, OutlinedConfiguration, keep_outline, kept_outline, values_text

if TYPE_CHECKING:
    from sweep.plan.configurations import Plan


class OutlineKeeper:
    """Keeps outlines of the sweeps that a command names. To be made before the command reads anything."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._results = Path(options.results)
        names = [word for word in options.names if "=" not in word and is_local_sweep(options.results, word)]
        overrides, files = [word for word in options.names if "=" in word], file_digests([options.file])
        self._asked = {name: digest_of(name, overrides, files) for name in names}

    def known(self, name: str) -> Outline | None:
        """Return what was kept of a sweep; None where that is nothing, or anything that it came from has changed."""
        found = kept_outline(self._results / name) if name in self._asked else None
        return found if found is not None and found.asked == self._asked[name] else None

    def keep(self, plan: Plan) -> None:
        """Keep the outline of a plan, where it may be kept."""
        name = plan.sweep.name
        if name in self._asked and not depends_on_files_elsewhere(plan.sweep):
            keep_outline(self._results / name, outline(plan, self._asked[name]))


def outline(plan: Plan, asked: str = "") -> Outline:
    """Put a plan into words; a run that it names twice is of the configuration that names it first. asked: as Outline
    has it."""
    from sweep.config import freeze

    sweep = plan.sweep
    return Outline(
        name=sweep.name,
        asked=asked,
        title=sweep.title,
        reproduces=sweep.reproduces,
        frozen=freeze(sweep),
        expected=plan.expected_runs(),
        may_end_sooner=plan.may_end_sooner,
        is_listed=not (plan.searches or sweep.budget or sweep.report_seeds),
        configurations=list(_configurations(plan)),
        left_out=[
            LeftOut(label=each.label, values=each.values, dataset=each.dataset, reason=each.reason)
            for each in plan.not_applicable
        ],
    )


def _configurations(plan: Plan) -> Iterator[OutlinedConfiguration]:
    seen = set[str]()
    for each in plan.listed:
        seeds = {run_hash: run.seed for run, run_hash in each.hashed_runs(plan.seeds) if run_hash not in seen}
        seen.update(seeds)
        yield OutlinedConfiguration(
            label=each.label, values=values_text(each.values), dataset=each.dataset, seeds=seeds
        )
