"""ReconBoost: modalities take turns, and each learns what the others get wrong.

Hua, Xu, Bao, Yang, Huang, "ReconBoost: Boosting Can Achieve Modality Reconcilement", ICML 2024."""

from __future__ import annotations

from methods.reconboost.equations import boosting_loss, ensemble_logits, memory_loss, pseudo_residual, stage_plan
from methods.reconboost.hyperparameters import ReconBoostHyperparameters
from methods.reconboost.method import ReconBoost

__all__ = [
    "ReconBoost",
    "ReconBoostHyperparameters",
    "boosting_loss",
    "ensemble_logits",
    "memory_loss",
    "pseudo_residual",
    "stage_plan",
]
