"""``python -m sweep resume``: run sweeps on as they were configured when they last ran."""

from __future__ import annotations

import argparse

from sweep.commands.run import run_sweeps
from sweep.commands.terminal import check_sweep_names
from sweep.config import ConfigError, load_frozen
from sweep.runs.open_store import open_store


def run_command(options: argparse.Namespace) -> int:
    """Run the frozen sweeps. Raises ConfigError where one has not run."""
    check_sweep_names(options.names)
    store = open_store(options.results)
    store.pull(*options.names)
    frozen = {name: store.results / name / "sweep.yaml" for name in options.names}
    for name, path in frozen.items():
        if not path.exists():
            raise ConfigError(f"{path} is missing: {name} has not run with --results {store}; use run")
    return run_sweeps(options, [load_frozen(path) for path in frozen.values()])
