"""The text of all modules of the four packages, by which changed code is noticed without importing any of it."""

from __future__ import annotations

from pathlib import Path

from sweep.runs.module_imports import PACKAGES
from sweep.runs.reached_code import hex_digest


def read_text_digests() -> dict[str, str]:
    """Digest the text of each module as it is now, by its path from the root."""
    root = Path(__file__).resolve().parents[2]
    found = sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))
    # Hidden files are those of editors, which may lead nowhere; half a file may hold half a character.
    files = [file for file in found if not file.name.startswith(".")]
    texts = {file: file.read_text(encoding="utf-8", errors="replace") for file in files}
    return {file.relative_to(root).as_posix(): hex_digest(text) for file, text in texts.items()}
