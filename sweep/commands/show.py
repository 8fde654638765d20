"""``python -m sweep show``: the sweep, and which of its runs are done, missing or failed, and why."""

from __future__ import annotations

import argparse
from collections import Counter

from rich.console import Console
from rich.table import Table

from sweep.commands.exit_codes import DONE
from sweep.commands.planned_runs import planned_runs
from sweep.commands.terminal import named_sweeps, terminal
from sweep.config import Sweep
from sweep.plan.build import plan
from sweep.results.tables import index_entries
from sweep.runs.code_changes import changes_text, earlier_runs
from sweep.runs.failures import describe_causes, describe_failure
from sweep.runs.open_store import open_store
from sweep.runs.store import Store


def run_command(options: argparse.Namespace) -> int:
    """Show each sweep that is named. Raises ConfigError."""
    for sweep in named_sweeps(options):
        print_state(sweep, open_store(options.results), terminal())
    return DONE


def print_state(sweep: Sweep, store: Store, console: Console) -> None:
    """Print title and origin of the sweep and the state of each configuration, with the reason of every failure."""
    sweep_plan = plan(sweep)
    store.pull(sweep.name)
    console.print(sweep.name, style="bold", end="")
    console.print(f": {sweep.title or ''}")
    if sweep.reproduces:
        console.print(f"reproduces {sweep.reproduces}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("label", "values", "dataset", "runs"):
        table.add_column(column, overflow="fold")
    grouped: dict[tuple[str, str, str], Counter[str]] = {}
    failures, kinds, hashes = [], Counter[str](), set[str]()
    for each in planned_runs(sweep_plan, store):
        c = each.configuration
        hashes.add(each.hash)
        values = ", ".join(f"{name}={value}" for name, value in c.values.items())
        grouped.setdefault((c.label, values, c.dataset), Counter())[each.status] += 1
        if (final := each.final) is not None and final.reason:
            after = f", after {final.attempts} attempts" if final.attempts > 1 else ""
            failures.append(f"{each.hash} ({c.label} {values} seed {each.run.seed}): {describe_failure(final)}{after}")
            if final.status == "failed":
                kinds[final.cause or "error"] += 1
    for (label, values, dataset), counts in grouped.items():
        table.add_row(label, values, dataset, ", ".join(f"{count} {status}" for status, count in counts.items()))
    for left_out in sweep_plan.not_applicable:
        values = ", ".join(f"{name}={value}" for name, value in left_out.values.items())
        table.add_row(left_out.label, values, left_out.dataset, f"N/A: {left_out.reason}")
    console.print(table)
    entries = index_entries(store.results, sweep.name)
    proposed = (entry.label for entry in entries if entry.number is not None)
    for entry_label, count in Counter(proposed).items():
        console.print(f"{entry_label}: {count} runs of proposed configurations so far")
    hashes |= {entry.hash for entry in entries}
    if earlier := [changed for _, changed in earlier_runs(store, sorted(hashes))]:
        text = f"{len(earlier)} runs are of earlier code: since then {changes_text(earlier)} changed"
        console.print(text)
    if kinds:
        console.print(f"{kinds.total()} failed: {describe_causes(kinds)}")
    for failure in failures:
        console.print(failure, soft_wrap=True)
