"""A fixture for results by URI: on a memory file system of fsspec, and in a folder."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest


@pytest.fixture(params=["memory", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid.uuid4().hex}/results" if request.param == "memory" else (tmp_path / "remote").as_uri()
