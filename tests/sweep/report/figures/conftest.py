"""Figures are drawn over a grid, as a report draws them: where one takes it away, that shows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from matplotlib import rc_context


@pytest.fixture(autouse=True)
def _grid() -> Iterator[None]:
    with rc_context({"axes.grid": True}):
        yield
