"""``python -m sweep validate``: check the whole file."""

from __future__ import annotations

import argparse

import data
import methods
from sweep.commands.console import print_line
from sweep.commands.exit_codes import DONE
from sweep.commands.terminal import print_refusals
from sweep.plan.validate import validate


def run_command(options: argparse.Namespace) -> int:
    """Check every sweep of the file. Tell of data that are not here, and of methods and datasets that no sweep could
    use.

    Raises ConfigError with every mistake."""
    notes = list[str]()
    sweeps = validate(options.file, options.overrides, notes.append)
    print_line(f"{options.file}: {len(sweeps)} sweeps, no mistakes")
    for note in notes:
        print_line(note, style="yellow")
    print_refusals(methods.METHODS, data.DATASETS)
    return DONE
