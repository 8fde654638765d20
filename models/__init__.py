"""Encoders, fusion modules and backbones: networks that know no dataset, no method and no file of ours.

``models.encoders`` turns one modality into a feature vector, ``models.fusion`` makes one prediction of several,
``models.backbones`` reads the tokens of all. This module holds what they share. The package can be used without the
others."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import torch
from torch import nn

__all__ = ["linear", "small", "unknown"]


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Make a linear layer [B, inputs] -> [B, outputs] with Xavier normal weight and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def small(*shape: int) -> nn.Parameter:
    """Make a trainable vector or table that starts from normal numbers of deviation 0.02."""
    return nn.Parameter(torch.randn(shape) * 0.02)


def unknown(kind: str, name: object, valid: Iterable[str]) -> ValueError:
    """Make the error for a ``kind`` of thing called ``name`` that does not exist; it tells the nearest of ``valid``."""
    names = list(valid)
    close = get_close_matches(str(name), names, 1)
    nearest = f", nearest is {close[0]!r}" if close else ""
    return ValueError(f"no {kind} called {name!r}{nearest}; there are: {', '.join(names)}")
