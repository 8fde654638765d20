"""``python -m sweep replay``: a run trained again from its record alone, or a search's proposals asked for again."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sweep.commands.console import terminal
from sweep.commands.exit_codes import DONE, FAILED
from sweep.commands.terminal import settings
from sweep.config import load_frozen
from sweep.engine.on_ray.session import RaySession
from sweep.engine.replay import find_run, replay
from sweep.plan.build import plan
from sweep.runs.open_store import open_store
from sweep.runs.records import is_sweep_name
from sweep.search.replay import replay_search
from sweep.storage.files import scratch_folder


def run_command(options: argparse.Namespace) -> int:
    """Train a run again and compare, or ask a search again. Raises ReplayError, ConfigError."""
    store = open_store(options.results)
    store.pull()
    if is_sweep_name(options.what) and (store.results / options.what / "study.journal").exists():
        return _replay_search(store.results / options.what, terminal())
    console = terminal()
    found = find_run(store, options.what)
    with scratch_folder("sweep-replay-") as scratch, RaySession(options.address) as ray:
        result = replay(store, found, scratch, settings(options.names), options.local, ray, console)
    shown = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "recorded", "again", ""):
        shown.add_column(title, justify="left" if title == "" else "right")
    for number in result.numbers:
        values = ("missing" if value is None else f"{value:.8g}" for value in (number.recorded, number.again))
        shown.add_row(number.name, *values, "" if number.same else "differs")
    console.print(shown)
    for change in result.changed:
        console.print(change, soft_wrap=True)
    verdict = "reproduced" if result.same else f"NOT reproduced: {sum(not n.same for n in result.numbers)} differ"
    console.print(f"{result.hash}: {len(result.numbers)} numbers, {verdict}")
    return DONE if result.same else FAILED


def _replay_search(folder: Path, console: Console) -> int:
    """Compare the proposals of every study with what the same samplers propose now."""
    different = 0
    for study in replay_search(plan(load_frozen(folder / "sweep.yaml")), folder / "study.journal"):
        different += len(study.mismatches)
        console.print(
            f"{study.study}: {study.asked} proposals asked again, {len(study.mismatches)} differ"
            + (f", {study.skipped} moved from an earlier space left out" if study.skipped else ""),
        )
        for each in study.mismatches:
            said = f"  {each.number}: recorded {each.recorded}, again {each.again} (proposed by Optuna {each.optuna})"
            console.print(said, soft_wrap=True)
    return FAILED if different else DONE
