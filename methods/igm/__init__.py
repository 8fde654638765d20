"""IGM: train the modalities one after the other, each along the flat directions of the one before.

Jiang, Chi, Yang, "Interactive Multimodal Learning via Flat Gradient Modification", IJCAI 2025."""

from __future__ import annotations

from methods.igm.equations import (
    accumulate_cov,
    convolution,
    layers_in_scope,
    modifiable,
    project_gradient,
    projection_matrix,
    resolves,
    sam_perturbation,
    source_modality,
)
from methods.igm.hyperparameters import IGMHyperparameters
from methods.igm.method import IGM
from methods.igm.mixup import Mixed, mixed_batch
from methods.igm.turns import Turn, turns

__all__ = [
    "IGM",
    "IGMHyperparameters",
    "Mixed",
    "Turn",
    "accumulate_cov",
    "convolution",
    "layers_in_scope",
    "mixed_batch",
    "modifiable",
    "project_gradient",
    "projection_matrix",
    "resolves",
    "sam_perturbation",
    "source_modality",
    "turns",
]
