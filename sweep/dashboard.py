"""Live dashboards of a sweep, served on the loopback address only: they know no login."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console

from sweep.config import ConfigError
from sweep.results import indexed
from sweep.store import Store

HOST = "127.0.0.1"


def serve(store: Store, name: str, kind: Literal["tensorboard", "optuna"] | None, port: int, console: Console) -> int:
    """Serve until Ctrl-C. kind None: optuna where the sweep searches, else TensorBoard. Raises ConfigError where the
    sweep has not run, or is no search."""
    store.pull(name, events=True)
    results = store.results
    journal = results / name / "study.journal"
    if not (results / name / "index.jsonl").exists():
        raise ConfigError(f"{store}/{name} holds no runs: run the sweep first, or give its --results")
    if kind == "optuna" and not journal.exists():
        raise ConfigError(f"{name} is no search: there is no Optuna study; use --kind tensorboard")
    said = f"http://{HOST}:{port} (Ctrl-C ends it; report: {results / name / 'report' / 'index.html'})"
    console.print(said, soft_wrap=True, markup=False)
    if kind == "tensorboard" or not journal.exists():
        return _tensorboard(results, name, port)
    from optuna_dashboard import run_server

    from sweep.engine.journal import look_at

    run_server(look_at(journal), host=HOST, port=port)
    return 0


def _tensorboard(results: Path, name: str, port: int) -> int:
    from tensorboard import program

    runs = {}
    for entry in indexed(results, name):
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
