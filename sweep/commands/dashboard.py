"""``python -m sweep dashboard``: live dashboards, served on the loopback address only, for they know no login."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Literal
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from rich.console import Console

from sweep.commands.console import terminal
from sweep.commands.exit_codes import DONE
from sweep.commands.terminal import pull_sweep
from sweep.config import ConfigError
from sweep.results.tables import index_entries
from sweep.runs.open_store import open_store
from sweep.runs.store import Store

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
OWN_NAMES = (HOST, "localhost", "[::1]")


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
    from optuna_dashboard import wsgi

    from sweep.search.journal import open_read_only

    with make_server(
        HOST, port, reading_only(own_host_only(wsgi(open_read_only(journal)))), _Server, _Handler
    ) as server:
        server.serve_forever()
    return DONE


def own_host_only(app: WSGIApplication) -> WSGIApplication:
    """Refuse requests that ask for another host than this machine: a web page whose name was bound to the loopback
    address would make them."""

    def guarded(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        name = re.sub(r":\d*$", "", environ.get("HTTP_HOST", ""))
        return app(environ, start) if name in OWN_NAMES else _refuse("403 Forbidden", f"open http://{HOST}", start)

    return guarded


def reading_only(app: WSGIApplication) -> WSGIApplication:
    """Refuse whatever would change what is shown."""

    def guarded(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start)
        return _refuse("405 Method Not Allowed", "this dashboard only shows the study", start)

    return guarded


def _refuse(status: str, why: str, start: StartResponse) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{why}\n".encode()]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: each view asks every few seconds."""


def _file_name(label: str) -> str:
    """Make a label the name of a file, cut with a digest where file systems would not take it whole."""
    name = label.replace("/", "_")
    return name if len(name.encode()) <= 200 else f"{name[:40]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


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
        link = links / _file_name(label)
        if not link.is_symlink():
            link.symlink_to(folder.resolve(), target_is_directory=True)
    board = program.TensorBoard(
        server_class=lambda app, flags: program.create_port_scanning_werkzeug_server(own_host_only(app), flags)
    )
    board.configure(argv=["tensorboard", "--logdir", str(links), "--host", HOST, "--port", str(port)])
    return int(board.main() or 0)
