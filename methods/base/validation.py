"""What a method sees of a validation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Validation:
    """The validation of one epoch, alike on every worker: all samples, in float32.

    scores: metrics by the names of records, such as ``validation_accuracy_audio``; losses: mean cross-entropy of each
    prediction; logits: [n, C] of each prediction, as they were scored; labels: int64 [n]."""

    scores: dict[str, float]
    losses: dict[str, float]
    logits: dict[str, Tensor]
    labels: Tensor
