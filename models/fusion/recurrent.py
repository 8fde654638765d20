"""The fusion that reads the modalities as a sequence: ``ml_lstm``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models import linear
from models.fusion.base import Fusion, FusionOutput, apply, heads, one_at_a_time


class MLLSTMFusion(Fusion):
    """A stacked LSTM reads the projected features, one modality a step; one classifier on its last output.

    lstm_layers: layers of the LSTM, without dropout. lstm_hidden: width H of the projections and of the LSTM.

    After Nie et al., Multimedia Tools and Applications 80, 2021: no code is published, and this is a reconstruction
    from the abstract."""

    name = "ml_lstm"
    title = "LSTM that reads one modality a step"
    paper = "after Nie et al., Multimedia Tools and Applications 2021"
    one_a_modality = ("projections",)
    options = frozenset({"lstm_layers", "lstm_hidden"})

    def __init__(
        self, dims: list[int], num_classes: int, *, lstm_layers: int = 2, lstm_hidden: int = 512, **shared: Any
    ) -> None:
        super().__init__(dims, num_classes, **shared)
        for option, value in (("lstm_layers", lstm_layers), ("lstm_hidden", lstm_hidden)):
            if value < 1:
                raise ValueError(f"{option} must be at least 1, got {value}")
        self.projections = heads(dims, lstm_hidden)
        self.lstm = nn.LSTM(lstm_hidden, lstm_hidden, lstm_layers, batch_first=True)
        self.head = linear(lstm_hidden, num_classes)

    def forward(self, features: list[Tensor]) -> FusionOutput:
        return self._read(apply(self.projections, features))

    def zero_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Compute fused logits of each modality in a sequence of the same length, the projected features of the others
        zeroed."""
        return [self._read(alone).logits for alone in one_at_a_time(apply(self.projections, features))]

    def _read(self, projected: list[Tensor]) -> FusionOutput:
        last = self.lstm(torch.stack(projected, dim=1))[0][:, -1]
        return FusionOutput(self.head(last), [last])
