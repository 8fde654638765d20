"""The predictions of each sample of a split: what is kept of a finished run beside its metrics."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SamplePredictions:
    """The predictions of every head for every sample of a split, in its order.

    heads: "multi", then each modality; classes: the likeliest class, [heads, n]; log_probabilities: of the true class,
    in nats, [heads, n]; labels: the true class, [n]."""

    heads: tuple[str, ...]
    classes: NDArray[np.int32]
    log_probabilities: NDArray[np.float32]
    labels: NDArray[np.int32]

    def __post_init__(self) -> None:
        shape = (len(self.heads), len(self.labels))
        if self.classes.shape != shape or self.log_probabilities.shape != shape:
            raise ValueError(f"predictions of {shape[0]} heads and {shape[1]} samples have other shapes")

    @property
    def right(self) -> NDArray[np.bool_]:
        """Tell which samples each head classifies rightly, [heads, n]."""
        return self.classes == self.labels

    def to_bytes(self) -> bytes:
        """Write them as the content of an npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            heads=np.array(self.heads),
            classes=self.classes,
            log_probabilities=self.log_probabilities,
            labels=self.labels,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> SamplePredictions:
        """Read the content of an npz file. Raises ValueError where it holds something else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as found:
                heads = tuple(map(str, found["heads"]))
                classes, labels = (found[name].astype(np.int32, casting="same_kind") for name in ("classes", "labels"))
                return cls(heads, classes, found["log_probabilities"].astype(np.float32, casting="same_kind"), labels)
        except Exception as error:  # zipfile and numpy raise whatever damaged bytes lead to
            raise ValueError(f"no predictions: {error}") from error


def sample_predictions(logits: Mapping[str, Tensor], labels: Tensor) -> SamplePredictions:
    """Reduce logits [n, C] of each head, against labels [n], to what is kept of them."""
    import torch  # here, so that whoever only reads predictions does without

    rows = torch.arange(len(labels), device=labels.device)
    logs = [each.double().log_softmax(-1)[rows, labels] for each in logits.values()]
    return SamplePredictions(
        tuple(logits),
        torch.stack([each.argmax(-1) for each in logits.values()]).cpu().numpy().astype(np.int32),
        torch.stack(logs).float().cpu().numpy(),
        labels.cpu().numpy().astype(np.int32),
    )
