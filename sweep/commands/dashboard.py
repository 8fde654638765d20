"""``python -m sweep dashboard``: live dashboards, served on the loopback address only, for they know no login."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from rich.console import Console

from sweep.commands.exit_codes import DONE
from sweep.commands.terminal import pull_sweep, terminal
from sweep.config import ConfigError
from sweep.results.tables import index_entries
from sweep.runs.open_store import open_store
from sweep.runs.store import Store

HOST = "127.0.0.1"


def run_command(options: argparse.Namespace) -> int:
    """Serve the dashboard of the sweep that is named. Raises ConfigError."""
    return serve(open_store(options.results), options.name, options.kind, options.port, terminal())


def serve(store: Store, name: str, kind: Literal["tensorboard", "optuna"] | None, port: int, console: Console) -> int:
    """Serve until Ctrl-C. kind None: optuna where the sweep searches, else TensorBoard.

    Raises ConfigError where the sweep has not run, or is no search."""
    pull_sweep(store, name, events=True)
    results = store.results
    journal = results / name / "study.journal"
    if kind == "optuna" and not journal.exists():
        raise ConfigError(f"{name} is no search: there is no Optuna study; use --kind tensorboard")
    said = f"http://{HOST}:{port} (Ctrl-C ends it; report: {results / name / 'report' / 'index.html'})"
    console.print(said, soft_wrap=True)
    if kind == "tensorboard" or not journal.exists():
        return _tensorboard(results, name, port)
    from optuna_dashboard import run_server

    from sweep.search.journal import open_read_only

    run_server(open_read_only(journal), host=HOST, port=port)
    return DONE


def _tensorboard(results: Path, name: str, port: int) -> int:
    from tensorboard import program

    runs = {}
    for entry in index_entries(results, name):
        values = ",".join(f"{key}={value}" for key, value in entry.values.items())
        label = "/".join(filter(None, [entry.dataset, entry.label, values, f"seed{entry.seed}"]))
        runs[label] = results / "runs" / entry.hash
    # TensorBoard reads one folder: links give the runs their names.
    links = results / name / "tensorboard"
    links.mkdir(exist_ok=True)
    for label, folder in runs.items():
        link = links / label.replace("/", "_")
        if not link.is_symlink():
            link.symlink_to(folder.resolve(), target_is_directory=True)
    board = program.TensorBoard()
    board.configure(argv=["tensorboard", "--logdir", str(links), "--host", HOST, "--port", str(port)])
    return int(board.main() or 0)
