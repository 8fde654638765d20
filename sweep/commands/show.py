"""``python -m sweep show``: the sweep, and which of its runs are done, missing or failed, and why."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Table

from sweep.commands.console import terminal
from sweep.commands.exit_codes import DONE
from sweep.commands.kept_answers import depends_on_files_elsewhere, keeping, question_about
from sweep.commands.planned_runs import look_up, named_runs
from sweep.commands.terminal import named_sweeps, names_and_overrides
from sweep.config import Sweep
from sweep.plan.build import plan
from sweep.results.tables import index_entries
from sweep.runs.code_changes import changes_text, earlier_runs
from sweep.runs.failures import describe_causes, describe_failure
from sweep.runs.open_store import open_store
from sweep.runs.store import Store


def run_command(options: argparse.Namespace) -> int:
    """Show each sweep that is named. Raises ConfigError."""
    names, _ = names_and_overrides(options.names)
    questions = {name: question_about(options, name) for name in names}
    for sweep in named_sweeps(options):
        elsewhere = depends_on_files_elsewhere(sweep)
        with keeping(None if elsewhere else questions[sweep.name]) as keeper:
            console = terminal()
            print_state(sweep, open_store(options.results), console, keeper.stamp)
            keeper.keep(console.said)
    return DONE


def print_state(
    sweep: Sweep, store: Store, console: Console, reads: Callable[[Iterable[str]], None] = lambda hashes: None
) -> None:
    """Print title and origin of the sweep and the state of each configuration, with the reason of every failure.

    reads: hears which runs are looked up, before any is."""
    sweep_plan = plan(sweep)
    store.pull(sweep.name)
    named, entries = list(named_runs(sweep_plan)), index_entries(store.results, sweep.name)
    planned = {hashed for _, _, hashed in named}
    hashes = planned | {entry.hash for entry in entries}
    reads(hashes)
    console.print(sweep.name, style="bold", end="")
    console.print(f": {sweep.title}" if sweep.title else "")
    if sweep.reproduces:
        console.print(f"reproduces {sweep.reproduces}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("label", "values", "dataset", "runs"):
        table.add_column(column, overflow="fold")
    grouped: dict[tuple[str, str, str], Counter[str]] = {}
    failures, kinds = [], Counter[str]()
    for each in look_up(named, store):
        c = each.configuration
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
    proposed = (entry.label for entry in entries if entry.number is not None)
    for entry_label, count in Counter(proposed).items():
        console.print(f"{entry_label}: {count} runs of proposed configurations so far")
    if earlier := [changed for _, changed in earlier_runs(store, sorted(hashes), planned)]:
        text = f"{len(earlier)} runs are of earlier code: since then {changes_text(earlier)} changed"
        console.print(text)
    if kinds:
        console.print(f"{kinds.total()} failed: {describe_causes(kinds)}")
    for failure in failures:
        console.print(failure, soft_wrap=True)
