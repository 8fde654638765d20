"""Exit codes of the command line."""

from __future__ import annotations

from sweep.engine.interrupts import INTERRUPTED

DONE = 0
FAILED = 1
"""Some runs failed, or the results could not be read or written."""
MISTAKE = 2
"""In the configuration or the command."""
LOCKED = 3
"""Another process runs the sweep."""

__all__ = ["DONE", "FAILED", "INTERRUPTED", "LOCKED", "MISTAKE"]
