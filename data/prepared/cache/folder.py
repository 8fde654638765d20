"""A folder of the cache, and the record in it that says that everything is there: meta.json, written last.

    ROOT/DATASET-PROFILE-KEY/
        meta.json                   the samples, which lie in the stores of their forms, are all on the disk
    ROOT/DATASET-computed-KEY/
        SPLIT.MODALITY.values.npy   every sample of a split
        SPLIT.labels.npy            the labels of these
        meta.json

Files are written through file handles, never through a map: a full disk is then an error and no SIGBUS."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from data.base import DataError
from data.base.files import distrust
from data.prepared.cache.disk import array_header, read_if_there, row_bytes, write_at, write_atomic
from data.prepared.cache.records import Meta
from data.prepared.forms.base import Stored
from data.prepared.lists.items import SplitName

VARIABLE = "SWEEP_CACHE"
"""Environment variable with the folder of all caches."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LOCKLESS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
"""What file systems without locks say."""


class CacheError(DataError):
    """A cache cannot be written; what is in it stays usable."""

    lasting = False


def cache_root() -> Path:
    """SWEEP_CACHE, else balanced-sweep in the user's folder of caches. Raises CacheError where the user has none."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if home.startswith("~"):
        raise CacheError(f"this user has no home folder to keep prepared data in; set {VARIABLE} to a folder")
    return Path(home).absolute() / "balanced-sweep"


class Writer:
    """Puts blocks of rows where they belong; see :meth:`CacheFolder.writer`."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, int, int]] = {}
        """name -> handle, bytes before the first row, bytes of a row."""

    def put(self, name: str, row: int, block: NDArray[np.generic]) -> None:
        """Write ``block`` from ``row`` on; it may end before a row is full. Raises OSError."""
        handle, start, row_size = self.files[name]
        write_at(handle, np.ascontiguousarray(block).reshape(-1).view(np.uint8).data, start + row * row_size)


@dataclass(frozen=True)
class CacheFolder:
    """The cache called ``name`` on this machine, whether there already or not."""

    name: str

    @property
    def path(self) -> Path:
        return cache_root() / self.name

    # Standing --------------------------------------------------------------------------------------------------

    def require_own(self) -> None:
        """Check who may write in the folder: raises CacheError where others may have written what lies there."""
        if why := distrust(self.path):
            raise CacheError(f"{why}: what is prepared there is not to be trusted; set {VARIABLE} to a folder of yours")

    def meta(self) -> Meta | None:
        """Read meta.json; None where the cache is not complete. Raises CacheError where others may have written it."""
        self.require_own()
        content = read_if_there(self.path / "meta.json")
        try:
            return None if content is None else Meta.model_validate_json(content)
        except ValidationError as error:
            raise DataError(f"{self.path / 'meta.json'}: damaged; remove the folder, it is made again") from error

    def siblings(self, dataset: str, profile: str) -> Iterator[Meta]:
        """List the complete caches of the same dataset and profile with another key, the latest first."""
        found = list(self.path.parent.glob(f"{dataset}-{profile}-*/meta.json"))
        for path in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True):
            with suppress(DataError):  # whatever is wrong with another cache is of no account here
                if path.parent.name != self.name and (meta := CacheFolder(path.parent.name).meta()) is not None:
                    yield meta

    # Writing ---------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, needed: int) -> Iterator[None]:
        """Turn errors of the file system into words for people. needed: bytes that what is under way takes."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise CacheError(
                    f"{self.path}: no room for the next {size(needed)} ({error.strerror}), {self._room()}"
                ) from error
            raise CacheError(
                f"{self.path}: cannot be written ({error.strerror or error}); change its permissions, or set "
                f"{VARIABLE} to a folder of yours"
            ) from error

    def check_room(self, needed: int) -> None:
        """Check the free disk: raises CacheError where ``needed`` bytes do not fit on the disk."""
        with self.writing(needed):
            self.path.mkdir(parents=True, exist_ok=True)
        if needed > shutil.disk_usage(self.path).free:
            raise CacheError(f"{self.path}: no room for up to {size(needed)}, {self._room()}")

    def _room(self) -> str:
        existing = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        return (
            f"{size(shutil.disk_usage(existing).free)} are free: make room, or set {VARIABLE} to a folder on a larger "
            "disk; what is finished is kept, run again to go on"
        )

    @contextmanager
    def locked(self, number: int, wait: bool) -> Iterator[bool]:
        """Lock a shard and tell whether the shard ``number`` is this process's alone while the context lasts. wait:
        until it is; else False at once where another process has it. Where the file system has no locks everything is
        everybody's: what is written is the same."""
        with ExitStack() as stack:
            with self.writing(0):
                file = stack.enter_context((self.path / "lock").open("ab"))
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
            except (BlockingIOError, PermissionError):
                yield False
                return
            except OSError as error:
                if error.errno not in _LOCKLESS:
                    raise
            yield True

    @contextmanager
    def writer(self, arrays: Mapping[str, Stored], rows: int) -> Iterator[Writer]:
        """Open a writer into the files called ``arrays`` of ``rows`` rows each, which are made where they are missing.
        Everything is on the disk when the context has ended. Raises OSError."""
        with ExitStack() as stack:
            writer = Writer()
            for name, stored in arrays.items():
                handle = os.open(
                    self.path / f"{name}.npy", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666
                )
                stack.callback(os.close, handle)
                header, row_size = array_header(stored, rows), row_bytes(stored)
                if os.fstat(handle).st_size != len(header) + rows * row_size:
                    write_at(handle, header, 0)
                    os.ftruncate(handle, len(header) + rows * row_size)
                writer.files[name] = (handle, len(header), row_size)
            yield writer
            for handle, _, _ in writer.files.values():
                os.fsync(handle)

    def finish(self, meta: Meta, labels: Mapping[SplitName, NDArray[np.int64]] | None = None) -> Meta:
        """Say that everything is on the disk; returns what was said. labels: of each split of what was computed. Raises
        OSError."""
        self.path.mkdir(parents=True, exist_ok=True)
        for split, found in (labels or {}).items():
            buffer = io.BytesIO()
            np.save(buffer, found, allow_pickle=False)
            write_atomic(self.path / f"{split}.labels.npy", buffer.getvalue())
        write_atomic(self.path / "meta.json", meta.model_dump_json(indent=2).encode() + b"\n")
        return meta

    # Reading ---------------------------------------------------------------------------------------------------

    def labels(self, split: str) -> NDArray[np.int64]:
        """Open the labels. Raises DataError."""
        return self._load(f"{split}.labels.npy")

    def arrays(self, split: str) -> dict[str, dict[str, Tensor]]:
        """Map modality -> array -> [n, ...] of a split: every process of a machine reads the same pages, and none can
        write. Raises DataError."""
        found: dict[str, dict[str, Tensor]] = {}
        for path in sorted(self.path.glob(f"{split}.*.*.npy")):
            _, modality, array, _ = path.name.split(".")
            found.setdefault(modality, {})[array] = read_only(self._load(path.name))
        return found

    def _load(self, name: str) -> NDArray[Any]:
        try:
            return np.load(self.path / name, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.path / name}: cannot be read ({error}); remove the folder, it is made again"
            ) from error


def read_only(values: NDArray[np.generic]) -> Tensor:
    """Make a tensor over the same memory, which may be a map that nobody can write."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)


def stored_bytes(stored: Mapping[str, Stored]) -> int:
    """Give the size of one sample, at most."""
    return sum(row_bytes(each) for each in stored.values())


def size(count: float) -> str:
    """Write bytes in words."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
