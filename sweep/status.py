"""What of a sweep is done, missing or failed, and what a run would do: read from plan and store, nothing is started."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import data
from sweep.config import ConfigError, Sweep
from sweep.failures import causes, told
from sweep.identity import run_hash
from sweep.plan import Configuration, Plan, plan
from sweep.records import FinalRecord, Run
from sweep.results import indexed
from sweep.storage import is_uri
from sweep.store import Store


@dataclass(frozen=True)
class Standing:
    """A run of a plan and how it stands: its end, or None."""

    configuration: Configuration
    run: Run
    hash: str
    final: FinalRecord | None
    epochs: int
    """Epochs trained so far by a run that has not ended."""

    @property
    def status(self) -> str:
        if self.final is not None:
            return self.final.status
        return "begun" if self.epochs else "missing"


def standings(planned: Plan, store: Store) -> Iterator[Standing]:
    """Every run that the plan names, in its order: references, grids and points. Searched configurations are not
    known before they are proposed."""
    seen = set()
    for configuration in [*planned.references, *(c for study in planned.studies for c in study.configurations)]:
        for run in configuration.runs(planned.seeds):
            hashed = run_hash(run)
            if hashed not in seen:
                seen.add(hashed)
                folder = store.run(hashed)
                final = folder.final()
                epochs = len(folder.epochs()) if final is None else final.epochs_trained
                yield Standing(configuration, run, hashed, final, epochs)


def show(sweep: Sweep, store: Store, console: Console) -> None:
    """Print what the sweep is and how each of its configurations stands, with the reason of every failure."""
    planned = plan(sweep)
    store.pull(sweep.name)
    console.print(f"[bold]{sweep.name}[/]: {sweep.title or ''}", highlight=False)
    if sweep.reproduces:
        console.print(f"reproduces {sweep.reproduces}", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("label", "values", "dataset", "runs"):
        table.add_column(column, overflow="fold")
    grouped: dict[tuple[str, str, str], Counter[str]] = {}
    failures, kinds = [], Counter[str]()
    for standing in standings(planned, store):
        c = standing.configuration
        values = ", ".join(f"{name}={value}" for name, value in c.values.items())
        grouped.setdefault((c.label, values, c.dataset), Counter())[standing.status] += 1
        if (final := standing.final) is not None and final.reason:
            after = f", after {final.attempts} attempts" if final.attempts > 1 else ""
            failures.append(f"{standing.hash} ({c.label} {values} seed {standing.run.seed}): {told(final)}{after}")
            if final.status == "failed":
                kinds[final.cause or "error"] += 1
    for (label, values, dataset), counts in grouped.items():
        table.add_row(label, values, dataset, ", ".join(f"{count} {status}" for status, count in counts.items()))
    console.print(table)
    proposed = (entry.label for entry in indexed(store.results, sweep.name) if entry.number is not None)
    for entry_label, count in Counter(proposed).items():
        console.print(f"{entry_label}: {count} runs of proposed configurations so far", highlight=False)
    if kinds:
        console.print(f"{kinds.total()} failed: {causes(kinds)}", highlight=False)
    for failure in failures:
        console.print(failure, highlight=False, soft_wrap=True, markup=False)


def dry_run(sweep: Sweep, store: Store, console: Console) -> None:
    """Print which runs a ``run`` would train, what the store already holds, and how long and how much disk it would
    take, estimated from earlier runs of the same method on the same dataset."""
    planned = plan(sweep)
    store.pull(sweep.name)
    counts: Counter[str] = Counter()
    ahead: list[Run] = []
    speed: dict[tuple[str, str], float] = {}
    for standing in standings(planned, store):
        held = standing.final is not None and standing.final.status in ("done", "diverged")
        counts["kept" if held else "to train"] += 1
        if held and standing.final is not None:
            speed[standing.run.method, standing.run.dataset] = standing.final.seconds_per_epoch
        else:
            ahead.append(standing.run)
            values = ", ".join(f"{name}={value}" for name, value in standing.configuration.values.items())
            begun = f", {standing.epochs} epochs done" if standing.status == "begun" else ""
            where = f"{standing.configuration.label} {values} on {standing.run.dataset} seed {standing.run.seed}"
            console.print(f"  {standing.hash}  {where}{begun}", highlight=False, markup=False)
    searched = planned.searched_runs()
    report = planned.report_runs()
    console.print(
        f"{sweep.name}: {counts['to train']} runs to train, {counts['kept']} held by {store}"
        + (f"; at most {searched} of searched configurations" if searched else "")
        + (f"; {report} under report seeds" if report else ""),
        highlight=False,
    )
    console.print(f"{sweep.name}: {_estimate(planned, ahead, searched + report, speed, store)}", highlight=False)


def _estimate(planned: Plan, ahead: list[Run], more: int, speed: dict[tuple[str, str], float], store: Store) -> str:
    """Time and disk in words; earlier runs on this machine are the only basis."""
    known = dict(_measured_speeds(store)) | speed
    if not ahead and not more:
        return "nothing to train"
    if not known:
        return "no earlier runs here to estimate time and disk from"
    typical = sum(known.values()) / len(known)
    seconds = sum(known.get((run.method, run.dataset), typical) * run.epochs for run in ahead)
    seconds += more * typical * planned.studies[0].epochs
    slots = max(1, int((os.cpu_count() or 1) / (planned.sweep.resources.cpus * planned.sweep.resources.workers)))
    disk = _measured_disk(store)
    mebibytes = (len(ahead) + more) * disk / 2**20
    return (
        f"about {_duration(seconds / slots)} with {slots} at a time, {mebibytes:.0f} MiB of disk "
        f"(from {len(known)} method and dataset pairs measured here)"
    )


def _measured_speeds(store: Store) -> Iterator[tuple[tuple[str, str], float]]:
    """Seconds per epoch of finished runs, by method and dataset."""
    for path in sorted((store.results / "runs").glob("*/final.json"))[:500]:
        folder = store.run(path.parent.name)
        run, final = folder.config(), folder.final()
        if run is not None and final is not None and final.status == "done":
            yield (run.method, run.dataset), final.seconds_per_epoch


def _measured_disk(store: Store) -> float:
    """Mean bytes of a finished run's folder."""
    folders = [path.parent for path in sorted((store.results / "runs").glob("*/final.json"))[:50]]
    sizes = [sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) for folder in folders]
    return sum(sizes) / max(1, len(sizes))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def check_paths(sweeps: Sequence[Sweep], results: str) -> None:
    """Inside a Ray job the working folder is a copy that is thrown away: refuse relative paths. Raises ConfigError."""
    if "RAY_JOB_ID" not in os.environ and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        return
    remedy = "a Ray job runs in a throw-away copy of the folder; give an absolute path that all nodes share, or a URI"
    if not is_uri(results) and not Path(results).is_absolute():
        raise ConfigError(f"--results {results} is relative: {remedy}")
    for sweep in sweeps:
        for dataset, options in sweep.data.items():
            for key in data.get(dataset).paths & options.keys():
                if options[key] is not None and not Path(options[key]).is_absolute():
                    raise ConfigError(f"{sweep.name}: data.{dataset}.{key} {options[key]} is relative: {remedy}")
