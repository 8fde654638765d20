"""Files that a kill, a full disk or a power cut cannot spoil, and errors that say what to do about those."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".*.partial"
"""Names of files that are being written."""

_REMEDIES = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free space, or ask for a larger quota",
    errno.EFBIG: "raise the limit on file sizes",
    errno.EACCES: "make it writable or choose another --results",
    errno.EPERM: "make it writable or choose another --results",
    errno.EROFS: "make it writable or choose another --results",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another --results",
    errno.EEXIST: "a file stands where a folder is needed; choose another --results",
    errno.EISDIR: "a folder stands where a file is needed; remove it",
}


_LASTING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
"""What is refused again, until someone follows the remedy."""


_UNSYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES}
"""What file systems say that sync no folders."""


_REMOVE_AT_END = 'exec 3<&0; { read -r _ <&3; exec rm -rf -- "$0"; } &'
"""Removes a folder once the input ends, as no child of this process: a second Ctrl-C kills all of these."""


class StoreError(RuntimeError):
    """The results cannot be used; the message names the path and the remedy. lasting: the same command would end so
    again."""

    lasting = False


class LockedError(StoreError):
    """Another live driver works on this sweep."""


@contextmanager
def guarded(doing: str, path: object) -> Iterator[None]:
    """Turn whatever the operating system refuses into a StoreError. doing: "write", "make"; path: to what."""
    try:
        yield
    except OSError as error:
        # Where those above it are made, too, a folder is lacking to which nobody can add one, as in /proc.
        nowhere = doing == "make" and error.errno == errno.ENOENT
        remedy = "choose another --results" if nowhere else _remedy(error, doing == "read")
        refused = StoreError(f"cannot {doing} {path}: {error.strerror or error}; {remedy}")
        refused.lasting = nowhere or error.errno in _LASTING
        raise refused from error


def refusal_text(error: OSError) -> str:
    """Say in words what the operating system refused of the file that an error names, and the remedy."""
    unreadable = os.path.exists(error.filename) and not os.access(error.filename, os.R_OK)
    remedy = _remedy(error, unreadable).replace(
        "another --results", "another place (--results, --to, --output, --file)"
    )
    return f"cannot use {error.filename}: {error.strerror or error}; {remedy}"


def _remedy(error: OSError, reading: bool) -> str:
    if reading and error.errno in (errno.EACCES, errno.EPERM):
        return "its owner can let others read it (chmod -R go+rX); or choose another --results"
    return _REMEDIES.get(error.errno or 0, "check the disk or the network")


def read_file(path: str) -> bytes | None:
    """Read a whole file; None where there is none. Raises OSError."""
    try:
        file = os.open(path, os.O_RDONLY)  # open() asks the system four questions more, a hundred thousand times
    except FileNotFoundError:
        return None
    parts = list[bytes]()
    try:
        left = os.fstat(file).st_size
        while left > 0 and (part := os.read(file, left)):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(file)
    return b"".join(parts)


def write_atomic(path: Path, content: bytes, durable: bool = False) -> None:
    """Write under a temporary name, then rename, so that a killed process leaves the old file or the new one.
    durable: survive a power cut too. Raises StoreError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with guarded("write", path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
            if durable:
                _sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: else a crash of the machine may undo a rename. It costs milliseconds."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise
    finally:
        os.close(handle)


def append_line(path: Path, line: str) -> None:
    """Append one more line; after a torn one it starts a line of its own. Raises StoreError."""
    with guarded("write", path), path.open("a+b") as file:
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
            line = f"\n{line}" if torn else line
        file.write(line.encode() + b"\n")


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing. Raises StoreError."""
    with guarded("make", path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make a temporary folder of this user's alone, which goes with the body, or with this process where that is
    killed. Raises StoreError, naming TMPDIR."""
    try:
        folder = tempfile.mkdtemp(prefix=prefix)
        remover = subprocess.Popen(
            ["sh", "-c", _REMOVE_AT_END, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        remover.wait()
    except OSError as error:
        raise StoreError(
            f"no temporary folder can be made ({error.strerror or error}): free space, or set TMPDIR to a folder that "
            "has some"
        ) from error
    try:
        yield Path(folder)
    finally:
        remover.communicate()
