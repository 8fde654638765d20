"""A dataset of small files to prepare, and a folder of caches for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.binary_files_dataset import write_shelf


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the dataset's files."""
    return write_shelf(tmp_path / "shelf")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of caches, which no other test knows."""
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    return tmp_path / "caches"
