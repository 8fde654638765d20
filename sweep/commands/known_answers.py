"""Commands answered by what is kept beside the index of a sweep, without planning and without importing torch:
``show``, ``report`` where nothing has changed, and ``run`` where nothing is left to do."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from sweep.commands.console import Said, say_again, terminal
from sweep.commands.kept_reports import ReportKeeper
from sweep.commands.outlines import OutlineKeeper
from sweep.commands.show import show_again
from sweep.engine.progress import Progress
from sweep.engine.tally import Tally
from sweep.results.outline import Outline
from sweep.results.tables import index_entries
from sweep.runs.code_changes import kept_runs_text
from sweep.runs.ended_runs import EndedRun, ended_runs
from sweep.runs.store import Store


def answer(options: argparse.Namespace) -> bool:
    """Answer a command, where all that it would say is known. False where it is not, and nothing is said."""
    if options.command == "show":
        return show_again(options)
    if options.command == "report":
        return not options.tex and _say_reports(known_reports(options.results, options.names, options.to))
    return _may_be_idle(options) and _say_idle(options)


def known_reports(results: str, names: list[str], to: Path | None = None) -> list[Said] | None:
    """Return what was said of the reports of sweeps; None where anything has changed since for one of them."""
    found = [ReportKeeper.of(results, name, to).known() for name in names]
    said = [each for each in found if each is not None]
    return said if len(said) == len(found) else None


def _say_reports(reports: list[Said] | None) -> bool:
    for said in reports or ():
        say_again(said, terminal())
    return bool(reports)


def _may_be_idle(options: argparse.Namespace) -> bool:
    in_job = "RAY_JOB_ID" in os.environ or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    return not (options.force or options.dry_run or in_job or "://" in options.results)


def _say_idle(options: argparse.Namespace) -> bool:
    """Say that nothing is left to do, where every run of the sweeps is done and their reports are written."""
    keeper, store = OutlineKeeper(options), Store(Path(options.results))
    names = list(dict.fromkeys(word for word in options.names if "=" not in word))
    outlines = [known for name in names if (known := keeper.known(name)) is not None]
    if not names or len(outlines) < len(names):
        return False
    ends = [_ends_of_idle(each, store) for each in outlines]
    reports = [] if options.no_report else known_reports(options.results, names)
    if reports is None or not all(ends):
        return False
    for number, outlined in enumerate(outlines):
        _print_idle(outlined, ends[number], terminal())
        _say_reports(reports[number : number + 1])
    return True


def _ends_of_idle(outlined: Outline, store: Store) -> list[EndedRun]:
    """Return the ends of a sweep's runs; [] where any is not done, or something else is left to do, or may be."""
    folder, planned = store.results / outlined.name, outlined.hashes
    if not outlined.is_listed or _is_locked(folder) or not _is_frozen(folder, outlined.frozen):
        return []
    ends = ended_runs(store, outlined.name, sorted(planned), planned)
    if len(ends) < len(planned) or any(ended.final.status != "done" for ended in ends.values()):
        return []
    indexed = {entry.hash for entry in index_entries(store.results, outlined.name)}
    return list(ends.values()) if planned <= indexed else []


def _print_idle(outlined: Outline, ends: list[EndedRun], console: Console) -> None:
    """Print what a sweep with nothing to do ends with."""
    count = outlined.expected or 0
    with Progress(console, outlined.name, count, Tally(done=count, kept=count), outlined.may_end_sooner):
        pass
    if others := [ended.changed for ended in ends if ended.changed]:
        console.print(kept_runs_text(others), style="yellow", highlight=False)


def _is_frozen(folder: Path, frozen: str) -> bool:
    try:
        return (folder / "sweep.yaml").read_bytes() == frozen.encode()
    except OSError:
        return False


def _is_locked(folder: Path) -> bool:
    """Tell whether another process runs the sweep, or may do."""
    lock = FileLock(folder / ".lock", fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
