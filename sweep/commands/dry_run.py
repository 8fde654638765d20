"""``--dry-run``: the runs that a command would train, and an estimate of time and disk; nothing is started."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from rich.console import Console

from sweep.commands.planned_runs import planned_runs
from sweep.config import Sweep
from sweep.plan.build import plan
from sweep.plan.configurations import Plan
from sweep.results.outline import configuration_text, values_text
from sweep.runs.code_changes import changes_text, earlier_runs
from sweep.runs.damaged_ends import damage_text, damaged_records
from sweep.runs.records import FinalRecord, Run
from sweep.runs.store import Store


def print_dry_run(sweep: Sweep, store: Store, console: Console) -> None:
    """Print the runs that ``run`` would train, and the number of those that the store holds.

    Time and disk are estimated from earlier runs of the same method on the same dataset."""
    sweep_plan = plan(sweep)
    store.pull(sweep.name)
    counts: Counter[str] = Counter()
    ahead: list[Run] = []
    kept: list[str] = []
    lacking: list[str] = []
    speed: dict[tuple[str, str], float] = {}
    for each in planned_runs(sweep_plan, store):
        held = each.final is not None and each.final.status in ("done", "diverged")
        counts["kept" if held else "to train"] += 1
        if held and each.final is not None:
            kept.append(each.hash)
            if each.final.status == "done":
                speed[each.run.method, each.run.dataset] = _seconds_per_budgeted_epoch(each.run, each.final)
        else:
            ahead.append(each.run)
            lacking.append(each.hash)
            begun = f", {each.epochs} epochs done" if each.status == "begun" else ""
            split = f" split {each.configuration.split}" if sweep.splits else ""
            named = configuration_text(each.configuration.label, values_text(each.configuration.values))
            where = f"{named} on {each.run.dataset}{split} seed {each.run.seed}"
            console.print(f"  {each.hash}  {where}{begun}")
    for left_out in sweep_plan.not_applicable:
        named = configuration_text(left_out.label, values_text(left_out.values))
        where = f"{named} on {left_out.dataset}: {left_out.reason}"
        console.print(f"  {'N/A':16}  {where}", soft_wrap=True)
    if earlier := [changed for _, changed in earlier_runs(store, kept, {*kept})]:
        text = f"{sweep.name}: {len(earlier)} of the runs held are of earlier code: since then {changes_text(earlier)} "
        console.print(f"{text}changed; --force trains them again", style="yellow")
    if damaged := damaged_records(store, lacking):
        console.print(f"{sweep.name}: {damage_text(damaged)}", style="yellow", soft_wrap=True)
    searched = sweep_plan.searched_runs()
    report = sweep_plan.report_runs()
    console.print(
        f"{sweep.name}: {counts['to train']} runs to train, {counts['kept']} held by {store}"
        + (f"; at most {searched} of searched configurations" if searched else "")
        + (f"; {report} under report seeds" if report else "")
        + (f"; {len(sweep_plan.not_applicable)} N/A" if sweep_plan.not_applicable else ""),
    )
    console.print(f"{sweep.name}: {_estimate(sweep_plan, ahead, searched + report, speed, store)}")


def _estimate(sweep_plan: Plan, ahead: list[Run], more: int, speed: dict[tuple[str, str], float], store: Store) -> str:
    """Estimate time and disk in words; earlier runs on this machine are the only basis."""
    known = dict(_measured_speeds(store)) | speed
    if not ahead and not more:
        return "nothing to train"
    if not known:
        return "no earlier runs here to estimate time and disk from"
    typical = sum(known.values()) / len(known)
    seconds = sum(known.get((run.method, run.dataset), typical) * run.epochs for run in ahead)
    seconds += more * typical * sweep_plan.studies[0].epochs
    slots = max(1, int((os.cpu_count() or 1) / (sweep_plan.sweep.resources.cpus * sweep_plan.sweep.resources.workers)))
    disk = _measured_disk(store)
    mebibytes = (len(ahead) + more) * disk / 2**20
    return (
        f"about {_duration_text(seconds / slots)} with {slots} at a time, {mebibytes:.0f} MiB of disk "
        f"(from {len(known)} method and dataset pairs measured here)"
    )


def _measured_speeds(store: Store) -> Iterator[tuple[tuple[str, str], float]]:
    """Measure what an epoch of the budget takes of finished runs, by method and dataset."""
    for path in sorted((store.results / "runs").glob("*/final.json"))[:500]:
        folder = store.run(path.parent.name)
        run, final = folder.config(), folder.final()
        if run is not None and final is not None and final.status == "done":
            yield (run.method, run.dataset), _seconds_per_budgeted_epoch(run, final)


def _seconds_per_budgeted_epoch(run: Run, final: FinalRecord) -> float:
    """Divide by the budget, for a method may train it once a modality or phase."""
    return final.seconds / run.epochs


def _measured_disk(store: Store) -> float:
    """Measure the mean bytes of a finished run's folder."""
    folders = [path.parent for path in sorted((store.results / "runs").glob("*/final.json"))[:50]]
    sizes = [sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) for folder in folders]
    return sum(sizes) / max(1, len(sizes))


def _duration_text(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
