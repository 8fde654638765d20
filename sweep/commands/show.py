"""``python -m sweep show``: the sweep, and which of its runs are done, missing or failed, and why."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sweep.commands.answer_origins import noticing_warnings
from sweep.commands.console import terminal
from sweep.commands.exit_codes import DONE
from sweep.commands.outlines import OutlineKeeper, outline
from sweep.results.outline import Outline, configuration_text, values_text
from sweep.results.tables import index_entries
from sweep.runs.code_changes import changes_text
from sweep.runs.damaged_ends import damage_text, damaged_records
from sweep.runs.ended_runs import EndedRun, ended_runs
from sweep.runs.failure_texts import describe_causes, describe_failure
from sweep.runs.open_store import open_store
from sweep.runs.records import IndexEntry
from sweep.runs.store import Store


def run_command(options: argparse.Namespace) -> int:
    """Show each sweep that is named. Raises ConfigError."""
    keeper = OutlineKeeper(options)
    from sweep.commands.terminal import named_sweeps
    from sweep.plan.build import plan

    with noticing_warnings() as warned:
        sweeps = named_sweeps(options)
    for sweep in sweeps:
        planned = plan(sweep)
        if not warned.any:
            keeper.keep(planned)
        print_state(read_state(outline(planned), open_store(options.results)), terminal())
    return DONE


def show_again(options: argparse.Namespace) -> bool:
    """Show each sweep that is named, where its plan is known. False where one is not, and nothing is shown."""
    keeper = OutlineKeeper(options)
    known = [keeper.known(word) for word in options.names if "=" not in word]
    outlines = [each for each in known if each is not None]
    if not outlines or len(outlines) < len(known):
        return False
    store = open_store(options.results)
    for state in [read_state(each, store) for each in outlines]:
        print_state(state, terminal())
    return True


@dataclass(frozen=True)
class SweepState:
    """A sweep with what is there of its runs: their lines in its index, those that have ended, the hashes of those
    that have begun and not ended, and the records for which an end does not count."""

    outline: Outline
    entries: list[IndexEntry]
    ended: dict[str, EndedRun]
    begun: set[str]
    damaged: list[str]

    def status(self, run_hash: str) -> str:
        """Say how a run ended, else whether it has begun."""
        if run_hash in self.ended:
            return self.ended[run_hash].final.status
        return "begun" if run_hash in self.begun else "missing"


def read_state(outlined: Outline, store: Store) -> SweepState:
    """Read what is there of the runs of a sweep."""
    store.pull(outlined.name)
    entries, planned = index_entries(store.results, outlined.name), outlined.hashes
    hashes = sorted(planned | {entry.hash for entry in entries})
    ended = ended_runs(store, outlined.name, hashes, planned)
    left = [run_hash for run_hash in hashes if run_hash not in ended]
    begun = {run_hash for run_hash in left if store.run(run_hash).epochs()}
    return SweepState(outlined, entries, ended, begun, damaged_records(store, left))


def print_state(state: SweepState, console: Console) -> None:
    """Print title and origin of a sweep and the state of each configuration, with the reason of every failure."""
    outlined = state.outline
    console.print(outlined.name, style="bold", end="")
    console.print(f": {outlined.title}" if outlined.title else "")
    if outlined.reproduces:
        console.print(f"reproduces {outlined.reproduces}")
    if (table := _table(state)).row_count:
        console.print(table)
    proposed: dict[str, Counter[str]] = {}
    for entry in _proposed(state):
        proposed.setdefault(entry.label, Counter()).update([state.status(entry.hash)])
    for label, counts in proposed.items():
        console.print(f"{label}: {counts.total()} runs of proposed configurations so far: {_counted(counts)}")
    if state.damaged:
        console.print(damage_text(state.damaged), style="yellow", highlight=False, soft_wrap=True, markup=False)
    if earlier := [ended.changed for ended in state.ended.values() if ended.changed]:
        console.print(f"{len(earlier)} runs are of earlier code: since then {changes_text(earlier)} changed")
    _print_failures(state, console)


def _table(state: SweepState) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("label", "values", "dataset", "runs"):
        table.add_column(column, overflow="fold")
    grouped: dict[tuple[str, str, str], Counter[str]] = {}
    for each in state.outline.configurations:
        grouped.setdefault((each.label, each.values, each.dataset), Counter()).update(map(state.status, each.seeds))
    for (label, values, dataset), counts in grouped.items():
        table.add_row(label, values, dataset, _counted(counts))
    for left_out in state.outline.left_out:
        values = values_text(left_out.values)
        table.add_row(left_out.label, values, left_out.dataset, f"N/A: {left_out.reason}")
    return table


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _proposed(state: SweepState) -> list[IndexEntry]:
    """List the runs of configurations that no plan knew."""
    return [entry for entry in state.entries if entry.number is not None]


def _print_failures(state: SweepState, console: Console) -> None:
    named = {
        run_hash: f"{configuration_text(each.label, each.values)} seed {seed}"
        for each in state.outline.configurations
        for run_hash, seed in each.seeds.items()
    }
    for entry in _proposed(state):
        text = configuration_text(entry.label, values_text(entry.values))
        named.setdefault(entry.hash, f"{text} seed {entry.seed}")
    kinds, lines = Counter[str](), list[str]()
    for run_hash, text in named.items():
        if run_hash not in state.ended or not (final := state.ended[run_hash].final).reason:
            continue
        after = f", after {final.attempts} attempts" if final.attempts > 1 else ""
        lines.append(f"{run_hash} ({text}): {describe_failure(final)}{after}")
        if final.status == "failed":
            kinds[final.cause or "error"] += 1
    if kinds:
        console.print(f"{kinds.total()} failed: {describe_causes(kinds)}")
    for line in lines:
        console.print(line, soft_wrap=True)
