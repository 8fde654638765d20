"""The text of all modules of the four packages, by which changed code is noticed without importing any of it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from sweep.runs.canonical_text import digest
from sweep.runs.module_imports import PACKAGES
from sweep.runs.reached_code import CONTRACT, COUNTED, hex_digest


@cache
def code_digest() -> str:
    """Digest every module of the four packages, as they were when this process first asked: of their text, which takes
    milliseconds where their syntax takes a second."""
    return digest(_text_digests())


@cache
def folder_digests() -> dict[str, str]:
    """Digest the code that no run's identity covers, by folder: of data/ and methods/ the contract modules, of models/
    and sweep/ everything."""
    outside = {file: text for file, text in _text_digests().items() if not _covered(file)}
    return {
        package: digest({file: text for file, text in outside.items() if file.startswith(f"{package}/")})
        for package in PACKAGES
    }


def _covered(file: str) -> bool:
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name.partition(".")[0] in COUNTED and name not in CONTRACT


def read_code_digest() -> str:
    """Digest every module of the four packages as they are now: another digest than :func:`code_digest` gives where the
    code has been rewritten since."""
    return digest(read_text_digests())


@cache
def _text_digests() -> dict[str, str]:
    return read_text_digests()


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
