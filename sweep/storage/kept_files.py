"""Files that keep what was found out, with digests of what it came from and of itself: whoever asks the same reads it
again, as long as neither has changed. Each can be deleted at any time."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from sweep.storage.files import StoreError, read_file, write_atomic


def read_kept(path: Path, question: str) -> bytes | None:
    """Read what was kept of a question; None where that is nothing, of another question, or damaged. question: a digest
    of all that the content came from."""
    with suppress(OSError):
        head, _, content = (read_file(str(path)) or b"").partition(b"\n")
        if head == _head(question, content):
            return content
    return None


def write_kept(path: Path, question: str, content: bytes) -> None:
    """Keep what was found out of a question; in a folder that cannot be written nothing is kept."""
    with suppress(StoreError):
        write_atomic(path, _head(question, content) + b"\n" + content)


def _head(question: str, content: bytes) -> bytes:
    return f"{question} {hashlib.sha256(content).hexdigest()}".encode()
