"""``python -m sweep export``: the model of a sweep's best run, or of a named one, in a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweep.commands.console import print_line
from sweep.commands.exit_codes import DONE
from sweep.commands.terminal import pull_sweep
from sweep.inference.export import export_model
from sweep.runs.open_store import open_store


def run_command(options: argparse.Namespace) -> int:
    """Export the model. Raises ModelError, ConfigError where the sweep has not run."""
    store = open_store(options.results)
    pull_sweep(store, options.name)
    target = options.to or Path("exports") / options.name
    card = export_model(store, options.name, target, run=options.run, label=options.label, dataset=options.dataset)
    metric = f"validation_{card.run.metric}"
    print_line(
        f"{target}: {card.label} on {card.run.dataset}, run {card.hash}, seed {card.run.seed}, epoch "
        f"{card.selected_epoch}, {metric.replace('_', ' ')} {100 * card.validation[metric]:.1f} %"
    )
    return DONE
