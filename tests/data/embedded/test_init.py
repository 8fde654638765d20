"""The embedded files are the ones that were converted, their licences lie beside them, and damage is told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from data import embedded
from data.base import AbsentDataError
from data.embedded import FOLDER, read_embedded, standardised

DIGESTS = {
    "mfeat": "3db99d91caef4b8bfcc219eb9f139547e89152cf85742d38d3b2d335ab61329f",
    "watch": "6af833ab209446ed6481e3e00efbe54e5d588901e0ac18345f34852a5580c094",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_each_file_is_the_converted_one_and_has_its_licence_beside_it(name: str) -> None:
    assert hashlib.sha256((FOLDER / name / f"{name}.npz").read_bytes()).hexdigest() == DIGESTS[name]
    (licence,) = (FOLDER / name).glob("LICENSE-*.txt")
    assert "Copyright" in licence.read_text()


def test_nothing_else_is_embedded() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(DIGESTS)


def test_arrays_come_in_the_order_they_are_asked_for() -> None:
    mor, labels = read_embedded("mfeat", "mor", "labels")
    assert (mor.shape, labels.shape) == ((2000, 6), (2000,))


def test_a_file_that_is_gone_damaged_or_another_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    with pytest.raises(AbsentDataError, match=r"mfeat\.npz: cannot be read .*; install the package again"):
        read_embedded("mfeat", "mor")
    (tmp_path / "mfeat").mkdir()
    (tmp_path / "mfeat" / "mfeat.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(AbsentDataError, match="cannot be read"):
        read_embedded("mfeat", "mor")
    np.savez(tmp_path / "mfeat" / "mfeat.npz", other=np.zeros(3))
    with pytest.raises(AbsentDataError, match="not the file that belongs here"):
        read_embedded("mfeat", "mor")


def test_standardised_by_the_training_samples_alone() -> None:
    values = np.array([[1, 10], [3, 30], [100, 50]], np.int16)
    # Training rows 0 and 1: means 2 and 20, population deviations 1 and 10.
    assert standardised(values, np.array([0, 1]), (0,)).tolist() == [[-1, -1], [1, 1], [98, 3]]
    # Over both axes: mean 11, deviation of 1, 10, 3, 30.
    whole = standardised(values, np.array([0, 1]), (0, 1))
    assert whole.dtype == np.float32
    assert whole[2, 0] == pytest.approx((100 - 11) / np.std([1, 10, 3, 30]))
