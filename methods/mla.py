"""MLA's fusion at inference: logits weighted by how sure each modality is of its prediction.

Zhang, Yoon, Bansal, Yao, "Multimodal Representation Learning by Alternating Unimodal Adaptation", CVPR 2024."""

from __future__ import annotations

from methods.equations.entropy import fuse_logits, fusion_weights, prediction_entropy

__all__ = ["fuse_logits", "fusion_weights", "prediction_entropy"]
