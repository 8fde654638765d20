"""Free disk space: what ended runs no longer need, and weights that no sweep keeps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.config import load_frozen
from sweep.results import indexed
from sweep.store import RunFolder, Store

Keep = Literal["none", "best", "all"]


@dataclass(frozen=True)
class Waste:
    """A file or folder that may go. why: in words, the same for all of a kind."""

    path: Path
    why: str
    bytes: int


def waste(store: Store, keep: Keep | None = None, orphans: bool = False) -> Iterator[Waste]:
    """Everything under the results folder that can go without losing a number.

    keep: which weights stay, for all sweeps; None: as each sweep says. orphans: also whole runs that belong to no sweep
    any more (of a grid that was changed, of a sweep whose folder was deleted)."""
    belonging, kept = _members(store, keep)
    for path in sorted(store.results.glob("runs/*")):
        folder = RunFolder(path)
        if orphans and path.name not in belonging:
            yield Waste(path, "runs of no sweep", _size(path))
            continue
        for name, why in _unneeded(folder, path.name in kept).items():
            yield Waste(path / name, why, (path / name).stat().st_size)


def remove(store: Store, found: list[Waste]) -> tuple[list[Waste], int]:
    """Delete what :func:`waste` found, but for runs that a live process trains now. Returns what went, and how many
    files were left for that reason."""
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


def _members(store: Store, keep: Keep | None) -> tuple[set[str], set[str]]:
    """Hashes of the runs that any sweep lists, and of those whose weights any sweep keeps."""
    belonging, kept = set[str](), set[str]()
    for index in store.results.glob("*/index.jsonl"):
        name, frozen = index.parent.name, index.with_name("sweep.yaml")
        entries = indexed(store.results, name)
        belonging |= {entry.hash for entry in entries}
        chosen = keep or (load_frozen(frozen).keep if frozen.exists() else "all")
        if chosen == "all":
            kept |= {entry.hash for entry in entries}
        elif chosen == "best":
            kept |= _best(store, name)
    return belonging, kept


def _best(store: Store, name: str) -> set[str]:
    """Runs whose weights ``keep: best`` keeps: of the best configuration of each study, and the report seeds' ones."""
    from sweep.results import load
    from sweep.shape import chosen

    rows = load(store.results / name)
    reports = set(rows.loc[rows["role"].eq("report"), "hash"])
    swept = rows[rows["role"].eq("sweep")]
    best = [
        found["configuration"] for _, part in swept.groupby(["label", "dataset"]) if (found := chosen(part)) is not None
    ]
    return reports | set(swept.loc[swept["configuration"].isin(best), "hash"])


def _unneeded(folder: RunFolder, weights_kept: bool) -> dict[str, str]:
    """Files of a run folder that may go -> why."""
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
