"""A fixture for results by URI: on a memory file system of fsspec, and in a folder."""

from __future__ import annotations

import io
import uuid
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem


@pytest.fixture(params=["memory", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return (tmp_path / "remote").as_uri()
    shared = MemoryFileSystem._open

    def opened(system: MemoryFileSystem, path: str, mode: str = "rb", **options: Any) -> Any:
        """Open a file; all readers of one have a place in it of their own, as of storage, and not one in common."""
        file = shared(system, path, mode, **options)
        return io.BytesIO(file.getvalue()) if mode == "rb" else file

    monkeypatch.setattr(MemoryFileSystem, "_open", opened)
    return f"memory://{uuid.uuid4().hex}/results"
