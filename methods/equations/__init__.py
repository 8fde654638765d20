"""Equations that two or more methods use: pure functions of tensors, without parameters, state or randomness of their
own. A method's own equations lie beside it; those that a second method comes to need move here, and no method's module
imports from another's. Methods re-export from here what their papers define."""

from __future__ import annotations

from methods.equations.discrepancy import discrepancy_ratios, unimodal_scores
from methods.equations.entropy import fuse_logits, fusion_weights, prediction_entropy

__all__ = ["discrepancy_ratios", "fuse_logits", "fusion_weights", "prediction_entropy", "unimodal_scores"]
