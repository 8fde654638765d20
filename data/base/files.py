"""Files of a data set: read whole, with errors for people, and digested by content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from data.base.dataset import AbsentDataError, DataError

GIT_LFS_POINTER = b"version https://git-lfs"
"""Start of the small file that stands in for one that Git LFS has not fetched."""


def read_bytes(path: Path) -> bytes:
    """Read everything in ``path``. Raises AbsentDataError where it is not there, DataError where it cannot be read, is
    empty, or is a Git LFS pointer that stands in for the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        kind = AbsentDataError if isinstance(error, FileNotFoundError | NotADirectoryError) else DataError
        raise kind(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    if not content:
        raise DataError(f"{path}: the file is empty; copy or download it again")
    if content.startswith(GIT_LFS_POINTER):
        raise DataError(f"{path}: a Git LFS pointer, not the file itself; run `git lfs pull` in its repository")
    return content


def distrust(folder: Path) -> str | None:
    """Say why others than this user, its group and the owner of the folder above may have written what lies in a
    folder; None where they cannot have, or nothing is there."""
    try:
        above, own = folder.parent.stat(), folder.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    trusted = {0, os.geteuid()}
    if above.st_mode & stat.S_IWOTH:
        if not above.st_mode & stat.S_ISVTX:
            return f"every user may replace what lies in {folder.parent}"
    else:
        trusted.add(above.st_uid)
        if above.st_mode & stat.S_IWGRP:
            trusted.add(own.st_uid)  # whoever is in its group was let in
    if own.st_uid not in trusted:
        return f"{folder} belongs to another user"
    return f"every user may write in {folder}" if _open_to_all(folder) else None


def _open_to_all(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IWOTH)


def digest(files: Iterable[tuple[str, bytes]]) -> str:
    """Give 16 hexadecimal digits that depend on the (name, content) pairs and their order, not on where they lie."""
    state = hashlib.sha256()
    for name, content in files:
        state.update(f"{len(name)}/{name}/{len(content)}/".encode())
        state.update(content)
    return state.hexdigest()[:16]
