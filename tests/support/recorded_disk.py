"""Records what is asked of the disk, and in which order: whether a power cut could spoil it shows nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class RecordedDisk:
    """events: ("synced" or "renamed", the file or folder, bytes that the system then knew of it). A file that is
    synced before its rename has its temporary path still."""

    events: list[tuple[str, Path, int]] = field(default_factory=list)

    def synced(self, before: str | None = None) -> list[Path]:
        """What has been synced, in order; before: by the time when a file was renamed to this name."""
        names = [path.name if what == "renamed" else None for what, path, _ in self.events]
        end = len(names) if before is None else names.index(before)
        return [path for what, path, _ in self.events[:end] if what == "synced"]

    def renamed(self) -> list[str]:
        """The names that files got by a rename, in order."""
        return [path.name for what, path, _ in self.events if what == "renamed"]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedDisk]:
    recorded, sync, rename = RecordedDisk(), os.fsync, Path.replace

    def fsync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        recorded.events.append(("synced", path, os.fstat(handle).st_size if path.is_file() else 0))
        sync(handle)

    def replace(self: Path, target: Path) -> Path:
        recorded.events.append(("renamed", Path(target), self.stat().st_size))
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(Path, "replace", replace)
        yield recorded
