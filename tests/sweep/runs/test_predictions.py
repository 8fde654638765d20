"""The predictions of a run are read from its folder; damage is said and does without."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from sweep.runs.predictions import PREDICTIONS, SamplePredictions, read_predictions
from sweep.storage.files import StoreError


def test_they_come_back_from_the_folder_of_a_run(tmp_path: Path) -> None:
    labels = np.array([0, 1], np.int32)
    written = SamplePredictions(("multi",), labels[None], np.array([[-0.5, -0.25]], np.float32), labels)
    (tmp_path / PREDICTIONS).write_bytes(written.to_bytes())
    found = read_predictions(tmp_path)
    assert found is not None
    assert (found.heads, found.labels.tolist()) == (("multi",), [0, 1])
    assert found.log_probabilities.tolist() == [[-0.5, -0.25]]


def test_a_run_of_an_earlier_version_has_none(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="error"):
        assert read_predictions(tmp_path) is None


def test_damage_is_told_to_whoever_asked(tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS).write_bytes(b"torn")
    with pytest.warns(UserWarning, match=r"predictions\.npz: no predictions: .*--force trains the run again") as told:
        assert read_predictions(tmp_path) is None
    assert told[0].filename == __file__


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS).mkdir()
    with pytest.raises(StoreError, match=r"cannot read .*predictions\.npz"):
        read_predictions(tmp_path)
