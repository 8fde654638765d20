"""MokA: low-rank adapters of one transformer that reads the tokens of all modalities, with a projection for each.

Wei, Miao, Zhou, Hu, "MokA: Multimodal Low-Rank Adaptation for MLLMs", NeurIPS 2025."""

from __future__ import annotations

from methods.moka.adapters import Adaptation, AdaptedLinear, adapt
from methods.moka.equations import cross_attend, low_rank_tokens, moka_delta
from methods.moka.hyperparameters import MokAHyperparameters
from methods.moka.method import MokA

__all__ = [
    "Adaptation",
    "AdaptedLinear",
    "MokA",
    "MokAHyperparameters",
    "adapt",
    "cross_attend",
    "low_rank_tokens",
    "moka_delta",
]
