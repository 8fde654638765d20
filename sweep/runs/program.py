"""The program that computes and reports: whatever it has found out holds as long as it is the same."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import entry_points

from sweep.runs.code_texts import code_digest


def program_digest() -> str:
    """Digest the code, Python, and the packages that are installed."""
    parts = [code_digest(), sys.version, sys.path, sorted(_installed())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def has_plug_ins() -> bool:
    """Tell whether other packages bring methods or datasets: of what their code is no digest of ours says anything."""
    return any(entry_points(group=group) for group in ("sweep.methods", "sweep.datasets"))


def _installed() -> Iterator[str]:
    """Name what is installed, with versions, and say where."""
    for folder in sys.path:
        with suppress(OSError):
            yield from (name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info", ".pth")))
