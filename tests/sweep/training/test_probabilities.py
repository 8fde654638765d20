"""Likelihood, calibration and ranking against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from sweep.training.probabilities import auroc, calibration_error, score_probabilities


@pytest.mark.parametrize(("classes", "ties"), [(2, False), (3, False), (5, True)])
def test_likelihood_and_ranking_equal_scikit_learns(classes: int, ties: bool) -> None:
    draw = torch.Generator().manual_seed(classes)
    labels = torch.arange(60) % classes
    logits = torch.randn(60, classes, generator=draw) + torch.nn.functional.one_hot(labels, classes)
    if ties:
        logits = logits.round()
    probabilities = logits.double().softmax(-1)
    found = score_probabilities({"multi": logits, "audio": -logits}, labels, "test")
    assert found["test_nll"] == pytest.approx(log_loss(labels, probabilities.numpy()))
    areas = [roc_auc_score((labels == c).numpy(), probabilities[:, c].numpy()) for c in range(classes)]
    assert found["test_auroc"] == pytest.approx(float(np.mean(areas)))
    assert set(found) == {f"test_{m}{s}" for m in ("nll", "calibration_error", "auroc") for s in ("", "_audio")}


def test_a_class_without_samples_is_left_out_of_the_ranking() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    probabilities = torch.tensor([[0.5, 0.1, 0.4], [0.4, 0.3, 0.3], [0.4, 0.4, 0.2], [0.2, 0.6, 0.2]])
    # Class 0: one of four pairs is tied; class 1: all are in order.
    assert float(auroc(probabilities, labels)) == pytest.approx((3.5 / 4 + 1) / 2)
    assert "test_auroc" not in score_probabilities({"multi": probabilities}, torch.zeros(4, dtype=torch.long), "test")


def test_calibration_by_hand() -> None:
    # Two samples in the bin up to 0.6, one right; two in that up to 1, one right.
    probabilities = torch.tensor([[0.58, 0.42], [0.6, 0.4], [0.98, 0.02], [1.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1])
    expected = (abs(1 - 1.18) + abs(1 - 1.98)) / 4
    assert float(calibration_error(probabilities, labels)) == pytest.approx(expected)
    sure = torch.eye(2, dtype=torch.float64)[[0, 1, 0]]
    assert float(calibration_error(sure, torch.tensor([0, 1, 0]))) == 0


def test_a_confidence_belongs_to_the_bin_whose_upper_end_it_does_not_pass() -> None:
    """Of samples of one bin what is too sure and what is too unsure makes up for each other; of two bins nothing."""

    def error(*confidences: float) -> float:
        sure = torch.tensor(confidences, dtype=torch.float64)
        return float(calibration_error(torch.stack([sure, 1 - sure], 1), torch.tensor([0, 1]), bins=4))

    assert error(0.75, 0.625) == pytest.approx(abs(0.25 - 0.625) / 2)  # both from 0.5 to 0.75
    assert error(0.875, 0.75) == pytest.approx((0.125 + 0.75) / 2)
    assert error(1.0, 0.875) == pytest.approx(0.875 / 2)
    assert error(0.625, 0.5) == pytest.approx((0.375 + 0.5) / 2)
    # A fifth is the upper end of the third of fifteen bins, which are what is computed unless others are asked for.
    many = torch.full((2, 6), 0.16, dtype=torch.float64)
    many[0, 0], many[1, 1] = 0.2, 0.19
    expected = abs((1 - 0.2) + (0 - 0.19)) / 2
    assert float(calibration_error(many, torch.tensor([0, 2]))) == pytest.approx(expected)


def test_confidence_without_reason_is_a_calibration_error() -> None:
    logits = torch.tensor([[9.0, 0.0]]).repeat(10, 1)
    found = score_probabilities({"multi": logits}, torch.arange(10) % 2, "test")
    top = 1 / (1 + math.exp(-9))
    assert found["test_calibration_error"] == pytest.approx(top - 0.5)
    assert found["test_auroc"] == 0.5
