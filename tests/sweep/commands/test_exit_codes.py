"""Scripts rely on these numbers."""

from __future__ import annotations

from sweep.commands.exit_codes import DONE, FAILED, INTERRUPTED, LOCKED, MISTAKE


def test_every_ending_has_its_number() -> None:
    assert (DONE, FAILED, MISTAKE, LOCKED, INTERRUPTED) == (0, 1, 2, 3, 130)
