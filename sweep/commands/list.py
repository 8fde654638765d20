"""``python -m sweep list``: methods, datasets, encoders, recipes, sweeps, hyperparameters, or all about a method."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from rich.table import Table

import data
import methods
from data.registry import Registry
from sweep.commands import listing, method_pages
from sweep.commands.console import terminal
from sweep.commands.exit_codes import DONE
from sweep.commands.terminal import print_refusals
from sweep.config import ConfigError

TABLES: dict[str, tuple[Callable[[], Table], Sequence[Registry[Any]]]] = {
    "methods": (listing.methods_table, [methods.METHODS]),
    "datasets": (listing.datasets_table, [data.DATASETS]),
    "encoders": (listing.encoders_table, []),
    "recipes": (listing.recipes_table, []),
}


def run_command(options: argparse.Namespace) -> int:
    """Print what is asked for. Raises ConfigError for an unknown method, and for one where none is asked for."""
    if options.of and options.what not in ("method", "hyperparameters"):
        raise ConfigError(
            f"list {options.what} lists all of them, not {options.of[0]!r} alone; list method and list hyperparameters "
            "take names"
        )
    if options.what in TABLES:
        made, registries = TABLES[options.what]
        terminal().print(made())
        print_refusals(*registries)
    elif options.what == "sweeps":
        terminal().print(listing.sweeps_table(options.file, options.results))
    elif options.what == "method":
        method_pages.print_pages(method_pages.method_pages(options.of, options.file), terminal())
    else:
        for table in listing.hyperparameter_tables(options.of):
            terminal().print(table)
    return DONE
