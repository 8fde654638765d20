"""The text of all modules of the four packages, by which changed code is noticed without importing any of it."""

from __future__ import annotations

import os
from pathlib import Path

from sweep.runs.module_imports import PACKAGES
from sweep.runs.reached_code import hex_digest


def read_text_digests() -> dict[str, str]:
    """Digest the text of each module as it is now, by its path from the root."""
    root = Path(__file__).resolve().parents[2]
    # As texts: with a Path for each of hundreds of files this takes twice as long, and commands that only repeat an
    # answer do little else.
    walked = (entry for package in PACKAGES for entry in os.walk(root / package))
    # Hidden files are those of editors, which may lead nowhere.
    files = [
        f"{folder}/{name}" for folder, _, names in walked for name in names if name.endswith(".py") and name[0] != "."
    ]
    return {file[len(f"{root}/") :]: hex_digest(_text(file)) for file in sorted(files)}


def _text(file: str) -> str:
    """Read a text as it stands in the file; half a file may hold half a character."""
    with open(file, encoding="utf-8", errors="replace") as opened:
        return opened.read()
