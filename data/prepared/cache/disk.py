"""Bytes of a cache's files: written at their places or as a whole, read where they are there."""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data.base import DataError
from data.prepared.forms.base import Stored

_LINKLESS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""What file systems without hard links say."""


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
    with _temporary(path, content) as temporary:
        temporary.replace(path)
    _sync_folder(path.parent)


def write_new(path: Path, content: bytes) -> bool:
    """Write a file as :func:`write_atomic` does, where there is none: False where there is one. Raises OSError."""
    with _temporary(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _LINKLESS:
                raise
            if path.exists():
                return False
            temporary.replace(path)
    _sync_folder(path.parent)
    return True


@contextmanager
def _temporary(path: Path, content: bytes) -> Iterator[Path]:
    """Write a file beside ``path`` that is on the disk, and goes at the end if it is still there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
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
