"""Bytes of a cache's files: written at their places or as a whole, read where they are there."""

from __future__ import annotations

import io
import os
import secrets
from pathlib import Path

import numpy as np

from data.base import DataError
from data.prepared.forms.base import Stored


def row_bytes(stored: Stored) -> int:
    """Give the size of one sample."""
    return int(np.dtype(stored.dtype).itemsize * np.prod(stored.shape, dtype=np.int64))


def array_header(stored: Stored, rows: int) -> bytes:
    """Give the first bytes of an npy file of ``rows`` samples."""
    buffer = io.BytesIO()
    description = np.lib.format.dtype_to_descr(np.dtype(stored.dtype))
    shape = (rows, *stored.shape)
    np.lib.format.write_array_header_1_0(buffer, {"descr": description, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def write_at(handle: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of ``content`` from ``offset`` on. Raises OSError."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(handle, rest, offset)
        rest, offset = rest[written:], offset + written


def write_atomic(path: Path, content: bytes) -> None:
    """Write so that either everything is at ``path`` or what was there before, whenever the machine stops."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_if_there(path: Path) -> bytes | None:
    """Read the content of a file; None where there is no such file. Raises DataError."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); change its permissions") from error
