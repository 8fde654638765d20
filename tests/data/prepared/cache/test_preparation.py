"""What is to be decoded has a key, and forms keep their word."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.binary_files_dataset import LENGTH, Bytes, shelf, write_shelf

from data.base import DataError
from data.prepared.cache.decoding import prepare


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_shelf(tmp_path / "shelf")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    return tmp_path / "caches"


def test_a_split_without_any_usable_sample_is_refused(root: Path) -> None:
    for path in (root / "validation").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="the validation split has no sample"):
        prepare(shelf(root, allowed_missing=0.5))


def test_a_form_that_breaks_its_declaration_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = np.zeros(LENGTH, np.int16)
    monkeypatch.setattr(Bytes, "decode", lambda self, medium, split: {"bytes": wrong})
    with pytest.raises(TypeError, match=r"train.bytes.bytes was decoded to int16 \(64,\), its form declares .*uint8"):
        prepare(shelf(root))


def test_an_error_that_nobody_foresaw_names_its_sample(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(form: Bytes, medium: Path, split: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Bytes, "decode", decode)
    with pytest.raises(ZeroDivisionError) as found:
        prepare(shelf(root))
    assert found.value.__notes__ == [f"while train/000_0 was decoded for {shelf(root).folder.path}"]


def test_a_changed_manifest_medium_profile_or_version_is_another_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shelf(root)
    moved = shutil.copytree(root, tmp_path / "moved")
    assert shelf(moved).key == first.key
    os.utime(moved / "train/000_0.bin", (0, 0))
    assert shelf(moved).key == first.key

    (moved / "train/000_0.bin").rename(moved / "train/000_1.bin")
    assert first.content.changes(shelf(moved).content) == ["manifest", "media"]
    (moved / "train/000_1.bin").rename(moved / "train/000_0.bin")
    (moved / "train/000_0.bin").write_bytes(b"longer or shorter")
    assert first.content.changes(shelf(moved).content) == ["media"]
    assert first.content.changes(shelf(root, profile="long").content) == ["forms"]
    monkeypatch.setattr(Bytes, "version", 2)
    assert first.content.changes(shelf(root).content) == ["forms"]
    assert len({shelf(root).key, shelf(moved).key, shelf(root, profile="long").key, first.key}) == 4
