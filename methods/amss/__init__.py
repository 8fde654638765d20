"""AMSS and AMSS+: train large parts of a weak modality's network and small parts of a strong one's.

Yang, Pan, Jiang, Xu, Tang, "Adaptively Mask Subnetworks considering Modal Significance", TPAMI 2025."""

from __future__ import annotations

from methods.amss.equations import (
    accumulate,
    batch_statistics,
    largest_units,
    mask_values,
    sample_units,
    significance,
    unit_scores,
    update_ratios,
    usable,
)
from methods.amss.hyperparameters import AMSSHyperparameters
from methods.amss.method import AMSS
from methods.amss.units import Layer, Units, maskable_units

__all__ = [
    "AMSS",
    "AMSSHyperparameters",
    "Layer",
    "Units",
    "accumulate",
    "batch_statistics",
    "largest_units",
    "mask_values",
    "maskable_units",
    "sample_units",
    "significance",
    "unit_scores",
    "update_ratios",
    "usable",
]
