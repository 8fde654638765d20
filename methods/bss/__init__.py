"""BSS: show the balanced samples first.

Guan, Jiang, Yang, "Balance-aware Sequence Sampling Makes Multimodal Learning Better", IJCAI 2025."""

from __future__ import annotations

from methods.bss.equations import (
    PACES,
    balance_score,
    curriculum_indices,
    gradient_magnitude,
    pace,
    prediction_similarity,
    sample_loss,
    sampling_probabilities,
    successive_draws,
)
from methods.bss.hyperparameters import BSSHyperparameters
from methods.bss.method import BSS, COLUMNS

__all__ = [
    "BSS",
    "COLUMNS",
    "PACES",
    "BSSHyperparameters",
    "balance_score",
    "curriculum_indices",
    "gradient_magnitude",
    "pace",
    "prediction_similarity",
    "sample_loss",
    "sampling_probabilities",
    "successive_draws",
]
