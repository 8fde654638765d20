"""Decoded samples of a form, each kept once, found by what it was decoded from. Lists, labels and splits lie outside: a
sample that stands in several lists is one row here.

    ROOT/samples-FORM-DIGEST/
        ARRAY.bin          rows of one array of the form, one behind the other; holes where a row is shorter
        written.bin        one byte a row: 1 where all of the row is on the disk
        keys-000000.bin    16 bytes a row: the digest of the medium; a further file for rows that came later

Nothing that is written ever moves, so that a process reads its rows while others write more."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from data.base import DataError
from data.prepared.cache.disk import read_if_there, row_bytes, write_at, write_new
from data.prepared.cache.folder import CacheFolder, read_only
from data.prepared.cache.media_keys import KEY_BYTES
from data.prepared.forms.base import Arrays, Form, Stored
from data.prepared.lists.items import SplitName


def form_text(form: Form) -> str:
    """Write a form with all that decides what it stores and serves."""
    return f"{form!r} version {form.version}"


class RowWriter:
    """Puts decoded samples into the rows of a store; see :meth:`SampleStore.writer`."""

    def __init__(self, files: Mapping[str, tuple[int, int]]) -> None:
        """files: array -> handle and bytes of a row."""
        self._files = files
        self.rows: list[int] = []

    def put(self, row: int, arrays: Arrays) -> None:
        """Write one sample. Raises OSError."""
        for name, values in arrays.items():
            handle, size = self._files[name]
            content = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
            write_at(handle, content, row * size)
            if len(content) < size:
                write_at(handle, b"\0", (row + 1) * size - 1)  # the file reaches to the end of the row
        self.rows.append(row)


@dataclass(frozen=True)
class SampleStore:
    """The store called ``name`` on this machine, whether there already or not. stored: its arrays."""

    name: str
    stored: Mapping[str, Stored]

    @classmethod
    def of(cls, form: Form, split: SplitName) -> SampleStore:
        """Find the store of a form's samples of a split. Splits whose arrays are declared alike share one, and so do
        forms that differ in nothing that is decoded."""
        stored = form.stored(split)
        decoding = sorted((name, value) for name, value in vars(form).items() if name not in form.served)
        digest = hashlib.sha256(repr((form.version, decoding, sorted(stored.items()))).encode()).hexdigest()[:16]
        return cls(f"samples-{type(form).__name__.lower()}-{digest}", stored)

    @property
    def folder(self) -> CacheFolder:
        return CacheFolder(self.name)

    @property
    def row_bytes(self) -> int:
        """Give the size of one sample, at most."""
        return sum(map(row_bytes, self.stored.values()))

    # What is there ---------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Find rows int64 [n] of samples, -1 for one without, and which of them are on the disk. Raises DataError."""
        self.folder.require_own()
        known = b"".join(map(_content, self._key_files()))
        halves = np.frombuffer(known, "<u8").reshape(-1, 2)
        wanted = np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2)
        likely = np.flatnonzero(np.isin(halves[:, 0], wanted[:, 0])).tolist()
        index = {known[KEY_BYTES * row : KEY_BYTES * (row + 1)]: row for row in likely}
        rows = np.array([index.get(key, -1) for key in keys], np.int64)
        marks = np.zeros(len(halves) + 1, np.uint8)  # the last for samples without a row
        there = np.frombuffer(_content(self.folder.path / "written.bin"), np.uint8)[: len(halves)]
        marks[: len(there)] = there
        return rows, marks[rows] == 1

    def arrays(self, rows: int) -> dict[str, Tensor]:
        """Map the first ``rows`` rows of each array [rows, ...]: every process of a machine reads the same pages, and
        none can write. Raises DataError."""
        found = {}
        for name, stored in self.stored.items():
            path = self.folder.path / f"{name}.bin"
            try:
                found[name] = read_only(np.memmap(path, stored.dtype, "r", shape=(rows, *stored.shape)))
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{path}: cannot be read ({error}); remove the folder {self.folder.path}, it is made again"
                ) from error
        return found

    def _key_files(self) -> list[Path]:
        return sorted(self.folder.path.glob("keys-*.bin"))

    # Writing ---------------------------------------------------------------------------------------------------------

    def allocate(self, keys: Sequence[bytes]) -> None:
        """Give those samples a row that have none, in their order. Raises CacheError."""
        with self.folder.writing(KEY_BYTES * len(keys)):
            self.folder.path.mkdir(parents=True, exist_ok=True)
            while True:
                with self.folder.locked(0, wait=True):
                    rows, _ = self.find(keys)
                    new = list(dict.fromkeys(key for key, row in zip(keys, rows, strict=True) if row < 0))
                    # Where the file system has no locks another process may come first: then there is such a file.
                    path = self.folder.path / f"keys-{len(self._key_files()):06d}.bin"
                    if not new or write_new(path, b"".join(new)):
                        return

    @contextmanager
    def writer(self) -> Iterator[RowWriter]:
        """Open a writer. What it has put is on the disk, and then marked, when the context has ended. Raises
        OSError."""
        with ExitStack() as stack:
            files = {name: (self._open(stack, name), row_bytes(stored)) for name, stored in self.stored.items()}
            writer = RowWriter(files)
            yield writer
            if not writer.rows:
                return
            for handle, _ in files.values():
                os.fsync(handle)
            marks = self._open(stack, "written")
            for row in writer.rows:
                write_at(marks, b"\1", row)
            os.fsync(marks)

    def _open(self, stack: ExitStack, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(self.folder.path / f"{name}.bin", flags, 0o666)
        stack.callback(os.close, handle)
        return handle


def _content(path: Path) -> bytes:
    return read_if_there(path) or b""
