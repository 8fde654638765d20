"""Augmentation of whole batches: functions that draw parameters from a generator, and pure functions that apply
them. The parameters are drawn on the CPU, one call a quantity for the whole batch, so that they do not depend on the
device, the number of workers or the part of a batch that one of them has. Tensors come in and go out; nothing is
kept."""

from __future__ import annotations

from data.augment.crops import (
    crop,
    draw_crops,
    draw_flips,
    whole,
)
from data.augment.draws import (
    Range,
    draw_integers,
    uniform,
)
from data.augment.masks import (
    draw_spans,
    mask,
)
from data.augment.operations import (
    OPERATIONS,
    draw_operations,
    rand_augment,
)

__all__ = [
    "OPERATIONS",
    "Range",
    "crop",
    "draw_crops",
    "draw_flips",
    "draw_integers",
    "draw_operations",
    "draw_spans",
    "mask",
    "rand_augment",
    "uniform",
    "whole",
]
