"""``python -m sweep seeds``: how many seeds a difference to joint training needs, from a sweep's own noise."""

from __future__ import annotations

import argparse

from sweep.analysis.parts import Parts
from sweep.analysis.seed_requirements import seed_requirements
from sweep.commands.console import print_line
from sweep.commands.exit_codes import DONE
from sweep.commands.terminal import pull_sweep
from sweep.config import ConfigError
from sweep.results.tables import load
from sweep.runs.open_store import open_store


def run_command(options: argparse.Namespace) -> int:
    """Print a line a dataset for each sweep that is named. Raises ConfigError where its noise is not known, or for a
    difference that is none."""
    if not 0 < options.difference < 100:
        raise ConfigError(f"--difference {options.difference:g}: give points above 0 and below 100, as in 0.5")
    store = open_store(options.results)
    for name in options.names:
        pull_sweep(store, name)
        found = seed_requirements(Parts(load(store.results / name)), options.difference / 100)
        if not found:
            raise ConfigError(
                f"{name}: the noise of its seeds is not known; run joint training and another configuration under two "
                "common seeds or more"
            )
        for each in found:
            print_line(f"{name} on {each.sentence()}")
    return DONE
