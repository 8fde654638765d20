"""UMT: encoders that learn to give the features of encoders trained alone; and UME, the ensemble of the latter.

Du, Teng, Li, Liu, Yuan, Wang, Yuan, Zhao, "On Uni-Modal Feature Learning in Supervised Multi-Modal Learning", ICML
2023."""

from __future__ import annotations

from methods.umt.equations import choose_branch, feature_distill_loss, ume_probs, umt_loss
from methods.umt.hyperparameters import UMTHyperparameters
from methods.umt.method import UMT

__all__ = [
    "UMT",
    "UMTHyperparameters",
    "choose_branch",
    "feature_distill_loss",
    "ume_probs",
    "umt_loss",
]
