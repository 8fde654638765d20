"""AUG: one more classifier for the modality that classifies worse, again and again during training.

Jiang, Huang, Yang, "Rethinking Multimodal Learning from the Perspective of Mitigating Classification Ability
Disproportion", NeurIPS 2025."""

from __future__ import annotations

from methods.aug.equations import (
    assign_classifiers,
    boosting_loss,
    confidence_score,
    merge_logits,
    residual_target,
    true_class_probability,
)
from methods.aug.hyperparameters import AUGHyperparameters
from methods.aug.method import AUG

__all__ = [
    "AUG",
    "AUGHyperparameters",
    "assign_classifiers",
    "boosting_loss",
    "confidence_score",
    "merge_logits",
    "residual_target",
    "true_class_probability",
]
