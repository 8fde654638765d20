"""The predictions of each test sample that a run leaves. Analysis alone reads them: what decides about training never
opens them."""

from __future__ import annotations

import warnings
from pathlib import Path

from sweep.storage.files import guarded
from sweep.training.predictions import SamplePredictions

__all__ = ["PREDICTIONS", "SamplePredictions", "read_predictions"]

PREDICTIONS = "predictions.npz"
"""Name of their file in the folder of a run."""


def read_predictions(folder: Path) -> SamplePredictions | None:
    """Read the predictions of a run in its folder; None where an earlier version trained it, or, with a warning, where
    they are damaged."""
    path = folder / PREDICTIONS
    with guarded("read", path):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        return SamplePredictions.from_bytes(content)
    except ValueError as error:
        warnings.warn(f"{path}: {error}; the report does without, --force trains the run again", stacklevel=2)
        return None
