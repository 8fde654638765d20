"""SpecAugment: spans of time and of frequency that are masked."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from data.augment.draws import draw_integers
from data.base.placement import moved


def draw_spans(count: int, length: int, widest: int, generator: Generator) -> Tensor:
    """Int64 [count, 2]: start and width (0 to ``widest``) of a span within ``length``."""
    width = draw_integers(count, min(widest, length), generator)
    return torch.stack([draw_integers(count, length - width, generator), width], 1)


def mask(values: Tensor, spans: Tensor, axis: int) -> Tensor:
    """Set in ``values`` [N, ...] each sample's span [N, 2] along ``axis`` to the sample's mean (Park et al.,
    "SpecAugment", Interspeech 2019)."""
    spans = moved(spans, values.device)
    place = torch.arange(values.shape[axis], device=values.device)
    inside = (place >= spans[:, :1]) & (place < spans.sum(1, keepdim=True))
    shape = [1] * values.ndim
    shape[0], shape[axis] = inside.shape
    mean = values.mean(tuple(range(1, values.ndim)), keepdim=True)
    return torch.where(inside.view(shape), mean, values)
