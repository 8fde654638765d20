"""A folder to run commands in."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder in which nothing has run."""
    return Desk(tmp_path)
