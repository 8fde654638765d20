"""Arrays of npy and npz files from anywhere: only those that are named are read, and no header sizes memory before it
was compared with what is there."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]

ARCHIVE = b"PK\3\4"
"""What an archive with anything in it begins with; what it ends with tells that it is whole."""
CUT_OFF = ("EOF: reading", "mmap length is greater than file size")
"""What numpy and mmap begin to say of an npy file that is too short."""
HIGHEST_RATIO = 1032
"""So many bytes at most does one compressed byte stand for (deflate)."""


class NumpyFileError(ValueError):
    """A file holds no plain arrays, or is damaged; the message says what is wrong in it, not in which file."""


class DamagedNumpyFileError(NumpyFileError):
    """A file is cut off, or holds other bytes than were written."""

    def __init__(self) -> None:
        super().__init__("it is cut off or damaged")


def remedy(error: NumpyFileError, file: Path) -> str:
    """Say what to do about a file that holds no plain arrays, or is damaged."""
    writer = "numpy.savez" if file.suffix == ".npz" else "numpy.save"
    doing = "copy it again, or save it again" if isinstance(error, DamagedNumpyFileError) else "write it"
    return f"{doing} by {writer}"


def is_archive(file: Path) -> bool:
    """Tell whether a file is an archive, as npz files are. Raises OSError, DamagedNumpyFileError where one is cut
    off."""
    if zipfile.is_zipfile(file):
        return True
    with file.open("rb") as content:
        if content.read(len(ARCHIVE)) == ARCHIVE:
            raise DamagedNumpyFileError
    return False


def read_named(file: Path, names: Collection[str]) -> dict[str, Values | None]:
    """Read the arrays of ``names`` from an npz file, None for each other one; of an npy file, which holds one of the
    file's name, that one, mapped where it lies. Raises OSError, NumpyFileError."""
    with reading():
        if not is_archive(file):
            return {file.stem: open_npy(file)}
        found = dict[str, Values | None]()
        for name, info, archive in members(file):
            found[name] = None
            if name in names:
                with archive.open(info) as stream:
                    check_size(name, stream, info)
                with archive.open(info) as stream:
                    found[name] = np.lib.format.read_array(stream, allow_pickle=False)
        return found


def open_npy(file: Path) -> Values:
    """Map the array of an npy file. Raises OSError, NumpyFileError."""
    with reading():
        found = np.load(file, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise DamagedNumpyFileError
        return found


def members(file: Path) -> Iterator[tuple[str, zipfile.ZipInfo, zipfile.ZipFile]]:
    """Yield name and description of each array of an npz file, with the archive. Raises OSError, NumpyFileError."""
    with reading(), zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                yield info.filename.removesuffix(".npy"), info, archive


def check_size(name: str, stream: IO[bytes], info: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array, from the start of its member, and compare it with the member's size. Returns its
    shape, whether it lies column by column, and its type. Raises NumpyFileError."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise NumpyFileError(f"{name} is in npy format {version[0]}.{version[1]}")
    shape, by_columns, dtype = read(stream)
    if dtype.hasobject:
        raise NumpyFileError(f"{name} holds Python objects")
    wanted = dtype.itemsize
    for length in shape:
        wanted *= length
    held = info.file_size - stream.tell()
    if min(shape, default=0) < 0 or wanted != held:
        raise NumpyFileError(f"{name} should take {wanted} bytes by its header, {list(shape)}, but {held} are there")
    if info.file_size > HIGHEST_RATIO * (info.compress_size + 1):
        raise NumpyFileError(f"{name} cannot be compressed as far as the archive says")
    return shape, by_columns, dtype


@contextmanager
def reading() -> Iterator[None]:
    """Turn whatever damaged bytes lead to into NumpyFileError. Raises OSError where the file cannot be read at all."""
    try:
        yield
    except (OSError, NumpyFileError):
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DamagedNumpyFileError from error
    except Exception as error:  # zipfile, numpy and its parser of headers each raise a dozen kinds
        said = str(error).strip().splitlines()
        if said and said[0].startswith(CUT_OFF):
            raise DamagedNumpyFileError from error
        if (
            said and "pickle" in said[0]
        ):  # numpy's guess of all that it does not know, with the advice to load it unsafely
            raise NumpyFileError("it holds Python objects, or is of another format") from error
        raise NumpyFileError(said[0] if said else type(error).__name__) from error
