"""RandAugment (Cubuk et al., NeurIPS 2020 workshops) of whole batches: operations and strengths are torchvision's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from data.base.placement import moved

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast",
    "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
_BINS = 30
"""Strength at which every operation is at its greatest."""


def draw_operations(count: int, generator: Generator, rounds: int = 2) -> Tensor:
    """Int64 [count, rounds, 2]: the operation (a place in ``OPERATIONS``), and 1 where its sign is reversed."""
    operation = torch.randint(len(OPERATIONS), (count, rounds), generator=generator)
    return torch.stack([operation, torch.randint(2, (count, rounds), generator=generator)], 2)


def rand_augment(images: Tensor, operations: Tensor, magnitude: int = 7) -> Tensor:
    """Apply to ``images`` uint8 [N, 3, H, W] the drawn ``operations`` [N, rounds, 2] of strength ``magnitude`` of 30.

    Samples that drew the same operation are changed together."""
    images = images.clone()
    for drawn in operations.unbind(1):
        kinds, kind, counts = drawn.unique(dim=0, return_inverse=True, return_counts=True)
        # In one copy for all operations, each of which would wait for its own.
        rows_of_kinds = moved(kind.argsort(stable=True), images.device).split(counts.tolist())
        for (number, reverse), rows in zip(kinds.tolist(), rows_of_kinds, strict=True):
            images[rows] = _apply(images[rows], OPERATIONS[number], magnitude / _BINS, -1 if reverse else 1)
    return images


def _apply(images: Tensor, operation: str, strength: float, sign: int) -> Tensor:
    """strength: 0 to 1, of the operation's greatest."""
    from torchvision.transforms.v2 import functional as F

    signed = strength * sign
    shear = math.degrees(math.atan(0.3 * signed))
    shift = 150 / 331 * signed

    def affine(translate: list[int], shear: list[float], **options: Any) -> Tensor:
        return F.affine(images, angle=0.0, translate=translate, scale=1.0, shear=shear, **options)

    table: dict[str, Callable[[], Tensor]] = {
        "identity": lambda: images,
        "shear_x": lambda: affine([0, 0], [shear, 0.0], center=[0.0, 0.0]),
        "shear_y": lambda: affine([0, 0], [0.0, shear], center=[0.0, 0.0]),
        "translate_x": lambda: affine([int(shift * images.shape[-1]), 0], [0.0, 0.0]),
        "translate_y": lambda: affine([0, int(shift * images.shape[-2])], [0.0, 0.0]),
        "rotate": lambda: F.rotate(images, 30 * signed),
        "brightness": lambda: F.adjust_brightness(images, 1 + 0.9 * signed),
        "color": lambda: F.adjust_saturation(images, 1 + 0.9 * signed),
        "contrast": lambda: F.adjust_contrast(images, 1 + 0.9 * signed),
        "sharpness": lambda: F.adjust_sharpness(images, 1 + 0.9 * signed),
        "posterize": lambda: F.posterize(images, 8 - round(4 * strength)),
        "solarize": lambda: F.solarize(images, 255 * (1 - strength)),
        "autocontrast": lambda: F.autocontrast(images),
        "equalize": lambda: F.equalize(images),
    }
    return table[operation]()
