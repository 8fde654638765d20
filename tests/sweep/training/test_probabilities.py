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


def test_confidence_without_reason_is_a_calibration_error() -> None:
    logits = torch.tensor([[9.0, 0.0]]).repeat(10, 1)
    found = score_probabilities({"multi": logits}, torch.arange(10) % 2, "test")
    top = 1 / (1 + math.exp(-9))
    assert found["test_calibration_error"] == pytest.approx(top - 0.5)
    assert found["test_auroc"] == 0.5
