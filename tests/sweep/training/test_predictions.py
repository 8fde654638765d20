"""What is kept of each sample is what was predicted, and comes back from a file as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sweep.training.predictions import SamplePredictions, sample_predictions


def some() -> SamplePredictions:
    logits = torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    return sample_predictions({"multi": logits, "audio": -logits}, torch.tensor([0, 1, 1]))


def test_classes_and_log_probabilities_of_every_head() -> None:
    found = some()
    assert found.heads == ("multi", "audio")
    assert found.classes.tolist() == [[0, 1, 0], [1, 0, 1]]
    assert found.right.tolist() == [[True, True, False], [False, False, True]]
    assert found.log_probabilities[0] == pytest.approx([-np.log1p(np.exp(-2)), -np.log1p(np.exp(-3)), -np.log1p(np.e)])


def test_a_file_gives_them_back_and_damage_is_told() -> None:
    found = some()
    again = SamplePredictions.from_bytes(found.to_bytes())
    assert again.heads == found.heads
    for name in ("classes", "log_probabilities", "labels"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    with pytest.raises(ValueError, match="no predictions"):
        SamplePredictions.from_bytes(found.to_bytes()[:-40])
    with pytest.raises(ValueError, match="other shapes"):
        SamplePredictions(("multi",), found.classes, found.log_probabilities, found.labels)
