"""LFA: fit the labels and align the modalities, with a weight between the two that falls during training.

Yang, Wan, Jiang, Xu, "Facilitating Multimodal Classification via Dynamically Learning Modality Gap", NeurIPS 2024
(the official code calls it LFM)."""

from __future__ import annotations

from methods.lfa.equations import (
    CUBIC,
    FITTED,
    STRATEGIES,
    alpha_hypergradient,
    alpha_schedule,
    clipped,
    contrastive_loss,
    inverse_hvp,
    js_alignment,
    update_alpha,
)
from methods.lfa.hyperparameters import LFAHyperparameters
from methods.lfa.method import LFA

__all__ = [
    "CUBIC",
    "FITTED",
    "LFA",
    "STRATEGIES",
    "LFAHyperparameters",
    "alpha_hypergradient",
    "alpha_schedule",
    "clipped",
    "contrastive_loss",
    "inverse_hvp",
    "js_alignment",
    "update_alpha",
]
