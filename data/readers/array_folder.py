"""The arrays of a user's own data: one npz file, or a folder of npy and npz files, by the names of the arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from data.base import AbsentDataError, DataError
from data.readers.numpy_files import (
    NumpyFileError,
    Values,
    check_size,
    is_archive,
    members,
    open_npy,
    read_named,
    reading,
    remedy,
)

LABELS, SPLIT, GROUP, CLASSES = "labels", "split", "group", "classes"
RESERVED = (LABELS, SPLIT, GROUP, CLASSES)
"""Arrays that are no modality."""
FIRST = 256
"""Rows of each modality that are looked at before anything runs."""


def read_arrays(
    root: Path,
    modalities: Sequence[str],
    opened: Callable[[Path, set[str]], Mapping[str, Values | None]] | None = None,
) -> dict[str, Values]:
    """Read every array that counts, npy files mapped. opened: gives those arrays of a file that are wanted, None for
    each other one (default: whole). Raises DataError."""
    opened, wanted = opened or _open_whole, {*modalities, *RESERVED}
    try:
        files = (
            sorted(p for p in root.iterdir() if p.suffix in (".npy", ".npz") and not p.name.startswith("."))
            if root.is_dir()
            else [root]
        )
    except OSError as error:
        raise DataError(f"{root}: cannot be read ({error.strerror}); change its permissions") from error
    if not files:
        raise AbsentDataError(f"{root}: no npy or npz file; give the folder that holds {', '.join(modalities)}")
    found: dict[str, Values | None] = {}
    for file in files:
        for name, values in opened(file, wanted).items():
            if name in found:
                raise DataError(f"{file}: the array {name} is in another file of {root} too; keep one of them")
            found[name] = values
    for name in (*modalities, LABELS):
        if name not in found:
            raise DataError(f"{root}: no array called {name}; there are: {', '.join(sorted(found))}")
    return {name: values for name in (*modalities, *RESERVED) if (values := found.get(name)) is not None}


def _open_whole(file: Path, wanted: set[str]) -> dict[str, Values | None]:
    with _explained(file):
        return read_named(file, wanted)


def open_headers(file: Path, wanted: set[str]) -> dict[str, Values | None]:
    """Open the arrays of a file by what their headers say: of the right type and shape, all zeros, in no memory."""
    with _explained(file):
        if not is_archive(file):
            return {file.stem: open_npy(file)}
        found = dict[str, Values | None]()
        for name, info, archive in members(file):
            found[name] = None
            if name in wanted:
                with archive.open(info) as stream:
                    shape, _, dtype = check_size(name, stream, info)
                found[name] = np.broadcast_to(np.zeros((), dtype), shape)
        return found


def open_first(file: Path, wanted: set[str], first: dict[str, Values]) -> dict[str, Values | None]:
    """Open the arrays of a file by what their headers say: of the right type and shape, all zeros, in no memory; those
    that are no modality are read. first: takes the first rows of each modality."""
    with _explained(file):
        if not is_archive(file):
            found = open_npy(file)
            first[file.stem] = found[:FIRST] if found.ndim else found
            return {file.stem: found}
        read = dict[str, Values | None](read_named(file, wanted & set(RESERVED)))
        for name, info, archive in members(file):
            if name in wanted - set(RESERVED):
                with archive.open(info) as stream:
                    read[name], first[name] = _header_and_first(name, stream, info)
        return read


def _header_and_first(name: str, stream: IO[bytes], info: zipfile.ZipInfo) -> tuple[Values, Values]:
    """Read an array in npy format up to its first rows: zeros of its type and shape, and these rows. All of it is read
    where it is stored column by column. Raises ValueError for anything else than an array of plain values."""
    shape, by_columns, dtype = check_size(name, stream, info)
    rows = shape if by_columns or not shape else (min(FIRST, shape[0]), *shape[1:])
    count = int(np.prod(rows, dtype=np.int64))
    content = stream.read(count * dtype.itemsize)
    if len(content) < count * dtype.itemsize:
        raise EOFError(f"{name} is cut off")
    values = np.frombuffer(content, dtype, count).reshape(rows, order="F" if by_columns else "C")
    return np.broadcast_to(np.zeros((), dtype), shape), values[:FIRST] if shape else values


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn errors of reading a file into words for people: raises AbsentDataError, DataError."""
    try:
        with reading():
            yield
    except FileNotFoundError as error:
        raise AbsentDataError(f"{file}: no such file; set root to an npz file or a folder of npy files") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror or error})") from error
    except NumpyFileError as error:
        raise DataError(f"{file}: not an npy or npz file of plain arrays ({error}); {remedy(error, file)}") from error
