"""``python -m sweep validate``: check the whole file."""

from __future__ import annotations

import argparse

import data
import methods
from sweep.commands.exit_codes import DONE
from sweep.commands.terminal import print_line, print_refusals
from sweep.plan.validate import validate


def run_command(options: argparse.Namespace) -> int:
    """Check every sweep of the file, and tell of methods and datasets that no sweep could use.

    Raises ConfigError with every mistake."""
    sweeps = validate(options.file, options.overrides)
    print_line(f"{options.file}: {len(sweeps)} sweeps, no mistakes")
    print_refusals(methods.METHODS, data.DATASETS)
    return DONE
