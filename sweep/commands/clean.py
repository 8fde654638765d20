"""``python -m sweep clean``: free disk of what ended runs no longer need, and of weights that no sweep keeps."""

from __future__ import annotations

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.analysis.parts import by_split, chosen_run
from sweep.analysis.severities import at_each_severity
from sweep.commands.console import print_line, terminal
from sweep.commands.exit_codes import DONE
from sweep.config import ConfigError, load_frozen
from sweep.results.tables import index_entries, load
from sweep.runs.code_changes import earlier_runs
from sweep.runs.records import is_run_name
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.storage.files import StoreError, guarded
from sweep.storage.remote import is_uri

Keep = Literal["none", "best", "all"]


def run_command(options: argparse.Namespace) -> int:
    """Free disk, or say what would go. Raises StoreError for results at a URI."""
    if is_uri(options.results):
        raise StoreError(f"{options.results}: clean works on folders; mount the bucket, or set a rule of its own there")
    console = terminal()
    store = Store(Path(options.results))
    _check_readable(store.results)
    found, held = list(waste(store, options.keep, options.orphans, options.stale)), 0
    if not options.dry_run:
        found, held = remove(store, found)
    sizes, counts = Counter[str](), Counter[str]()
    for each in found:
        sizes[each.why] += each.bytes
        counts[each.why] += 1
    for why, size in sizes.items():
        console.print(f"{counts[why]} {why}: {size / 2**20:.1f} MiB")
    verb = "would be freed" if options.dry_run else "freed"
    console.print(f"{sum(sizes.values()) / 2**20:.1f} MiB {verb}")
    if held:
        console.print(f"{held} files of runs that are being trained now were left")
    return DONE


def _check_readable(results: Path) -> None:
    """Check that this user sees what is there: else there would be nothing to free. Raises StoreError."""
    for folder in (results, results / "runs"):
        with guarded("read", folder), suppress(FileNotFoundError):
            os.listdir(folder)


@dataclass(frozen=True)
class Waste:
    """A file or folder that may go. why: the reason in words, the same for all of a kind."""

    path: Path
    why: str
    bytes: int


def waste(store: Store, keep: Keep | None = None, orphans: bool = False, stale: bool = False) -> Iterator[Waste]:
    """Find everything under the results folder that can go without losing a number.

    keep: which weights stay, for all sweeps; None: as each sweep says. orphans: also whole runs that belong to no sweep
    any more (of a grid that was changed, of a sweep whose folder was deleted). stale: also whole runs that ended under
    earlier code; running their sweeps again trains what they still name."""
    belonging, kept = _members(store, keep, orphans)
    earlier = {name for name, _ in earlier_runs(store, _run_names(store))} if stale else set[str]()
    for path in _run_paths(store):
        folder = RunFolder(path)
        if orphans and path.name not in belonging:
            yield Waste(path, "runs of no sweep", _size(path))
            continue
        if path.name in earlier:
            yield Waste(path, "runs of earlier code", _size(path))
            continue
        for name, why in _unneeded(folder, path.name in kept).items():
            yield Waste(path / name, why, (path / name).stat().st_size)


def _run_names(store: Store) -> list[str]:
    return [path.name for path in _run_paths(store)]


def _run_paths(store: Store) -> list[Path]:
    """List the folders of runs: no stray files, and no links, which lead to what is not ours to delete."""
    found = sorted(store.results.glob("runs/*"))
    return [path for path in found if is_run_name(path.name) and path.is_dir() and not path.is_symlink()]


def remove(store: Store, found: list[Waste]) -> tuple[list[Waste], int]:
    """Delete what :func:`waste` found, but for runs that a live process trains now.

    Returns what went, and how many files were left for that reason."""
    gone: list[Waste] = []
    held = 0
    runs = store.results / "runs"
    for each in found:
        claim = store.claim(each.path.relative_to(runs).parts[0])
        if claim is None:
            held += 1
            continue
        try:
            shutil.rmtree(each.path) if each.path.is_dir() else each.path.unlink()
        finally:
            claim.release()
        gone.append(each)
    return gone, held


def _members(store: Store, keep: Keep | None, orphans: bool) -> tuple[set[str], set[str]]:
    """Collect hashes of the runs that any sweep lists, and of those whose weights any sweep keeps: all, of a sweep that
    cannot be read. Raises StoreError where orphans are asked for and an index that is damaged may name them."""
    belonging, kept = set[str](), set[str]()
    for index in store.results.glob("*/index.jsonl"):
        name, frozen = index.parent.name, index.with_name("sweep.yaml")
        entries = index_entries(store.results, name)
        if orphans and len(entries) < len(index.read_bytes().splitlines()):
            raise StoreError(f"{index} is damaged and may name more runs than can be read: run {name} again first")
        belonging |= {entry.hash for entry in entries}
        chosen = keep or _kept_weights(frozen)
        if chosen == "all":
            kept |= {entry.hash for entry in entries}
        elif chosen == "best":
            kept |= _best(store, name)
    return belonging, kept


def _kept_weights(frozen: Path) -> Keep:
    """Tell which weights a sweep keeps, of its frozen file."""
    if not frozen.exists():
        return "all"
    try:
        return load_frozen(frozen).keep
    except ConfigError as error:
        print_line(f"{frozen} cannot be read, so all weights of that sweep are kept: {error}", style="yellow")
        return "all"


def _best(store: Store, name: str) -> set[str]:
    """Collect runs whose weights ``keep: best`` keeps: the best configuration's of each study, and report seeds'."""
    rows = at_each_severity(load(store.results / name))
    reports = set(rows.loc[rows["role"].eq("report"), "hash"])
    swept = rows[rows["role"].eq("sweep")]
    best = set[str]()
    for _, several in swept.groupby("label"):
        for part in by_split(several):
            if (found := chosen_run(part)) is not None:
                best |= set(part.loc[part["configuration"].eq(found["configuration"]), "hash"])
    return reports | best


def _unneeded(folder: RunFolder, weights_kept: bool) -> dict[str, str]:
    """Map names of a run folder's files that may go to the reason."""
    found = {path.name: "writes that were interrupted" for path in folder.path.glob(".*.partial")}
    found |= {path.name: "checkpoints that cannot be read" for path in folder.path.glob("checkpoint.unreadable")}
    final = folder.final()
    if final is not None and final.status != "failed" and (folder.path / "checkpoint.pt").exists():
        found["checkpoint.pt"] = "checkpoints of runs that have ended"
    if not weights_kept and (folder.path / "weights.safetensors").exists():
        found["weights.safetensors"] = "weights that no sweep keeps"
    return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
