"""Media by their content: the digest of each file, computed once as long as its size and its times stay."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from data.prepared.cache.disk import read_if_there, write_atomic
from data.prepared.cache.folder import CacheError, CacheFolder
from data.prepared.lists.items import Clip, Medium

KEY_BYTES = 16

_PIECE, _PIECES = 2**16, 64
"""Bytes of a piece, and pieces, by which a large file is known; a smaller one is known by all of its bytes."""
_SETTLED = 2 * 10**9
"""Nanoseconds after which a further change shows in a file's times, on every file system."""
_AT_ONCE = 8
"""Files that are read at a time, as each may be a question to a server."""


def medium_key(medium: Medium, digest: Callable[[Path], bytes] | None = None) -> bytes:
    """Give 16 bytes that depend on the content of a medium alone. digest: of a file (default: of what it holds now)."""
    if isinstance(medium, str):
        return _short(b"text", medium.encode(errors="surrogatepass"))
    window = f"frames {medium.start} to {medium.end}" if isinstance(medium, Clip) else ""
    return _short(window.encode(), *map(digest or file_digest, medium_files(medium)))


def medium_files(medium: Medium) -> tuple[Path, ...]:
    """List the files of a medium."""
    if isinstance(medium, str):
        return ()
    return medium if isinstance(medium, tuple) else (medium.path if isinstance(medium, Clip) else medium,)


def file_digest(path: Path) -> bytes:
    """Digest a file by its size and its content, 16 bytes; by its path where it cannot be read."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _PIECE * _PIECES:
                return _short(size.to_bytes(8), file.read())
            pieces = []
            for number in range(_PIECES):
                file.seek(number * (size - _PIECE) // (_PIECES - 1))
                pieces.append(file.read(_PIECE))
            return _short(size.to_bytes(8), *pieces)
    except OSError:
        return _short(b"unreadable", os.fsencode(path))


def remembered_digests(root: Path, paths: Iterable[Path]) -> dict[Path, bytes]:
    """Map file -> :func:`file_digest`. Those whose size and times are as they were at an earlier call are not read
    again. root: folder of the dataset, for which they are remembered, as far as the cache can be written. Raises
    CacheError where others may have written there."""
    file = _memory(root)
    known, wanted = _known(file), list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        parts = pool.map(
            lambda part: {path: _entry(path, known) for path in part}, (wanted[k::_AT_ONCE] for k in range(_AT_ONCE))
        )
        found = {path: entry for part in parts for path, entry in part.items()}
    latest = time.time_ns() - _SETTLED
    new = {
        str(path): [*state, digest]
        for path, (state, digest) in found.items()
        if state and max(state[1:]) < latest and known.get(str(path)) != [*state, digest]
    }
    if new and file:
        with suppress(OSError):  # the cache of another user: the files are read again the next time
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, json.dumps(known | new).encode())
    return {path: bytes.fromhex(found[path][1]) for path in wanted}


def _memory(root: Path) -> Path | None:
    """Find the file that remembers digests of a dataset. None where this user has no folder of caches, as is told when
    something is decoded. Raises CacheError where others may have written there."""
    folder = CacheFolder("media-digests")
    try:
        file = folder.path / f"{_short(os.fsencode(root)).hex()}.json"
    except CacheError:
        return None
    folder.require_own()
    return file


def _entry(path: Path, known: Mapping[str, Any]) -> tuple[list[int], str]:
    """Give size and times in nanoseconds of a file, nothing where it cannot be looked at; and its digest."""
    try:
        stat = path.stat()
    except OSError:
        return [], file_digest(path).hex()
    state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    before = known.get(str(path))
    return state, before[3] if before and before[:3] == state else file_digest(path).hex()


def _known(file: Path | None) -> dict[str, Any]:
    try:
        return dict(json.loads((file and read_if_there(file)) or b"{}"))
    except ValueError:  # damaged by a crash of the machine
        return {}


def _short(*parts: bytes) -> bytes:
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8) + part)
    return state.digest()[:KEY_BYTES]
