"""ML-LSTM, against the equations of an LSTM cell."""

from __future__ import annotations

import pytest
import torch
from support.fusion_samples import biased, random_features
from torch import Tensor

from models.fusion import MLLSTMFusion

close = torch.testing.assert_close


def _read(module: MLLSTMFusion, sequence: list[Tensor]) -> Tensor:
    """The last output of the top layer, cell by cell."""
    for layer in range(module.lstm.num_layers):
        weights = dict(module.lstm.named_parameters())
        w_x, w_h, b_x, b_h = (weights[f"{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = c = torch.zeros_like(sequence[0])
        outputs = []
        for x in sequence:
            keep_in, forget, candidate, keep_out = (x @ w_x.T + b_x + h @ w_h.T + b_h).chunk(4, dim=1)
            c = forget.sigmoid() * c + keep_in.sigmoid() * candidate.tanh()
            h = keep_out.sigmoid() * c.tanh()
            outputs.append(h)
        sequence = outputs
    return sequence[-1]


@pytest.mark.parametrize("layers", [1, 2])
def test_reads_the_projected_modalities_in_their_order(layers: int) -> None:
    module, features = biased("ml_lstm", [3, 5, 2], lstm_hidden=6, lstm_layers=layers), random_features(3, 5, 2)
    projected = [layer(x) for layer, x in zip(module.projections, features, strict=True)]
    output, last = module(features), _read(module, projected)
    close(output.features, [last])
    close(output.logits, module.head(last))
    assert not torch.allclose(_read(module, projected[::-1]), last)


def test_zero_keeps_the_length_and_zeroes_projected_features() -> None:
    module, features = biased("ml_lstm", [3, 5], lstm_hidden=6), random_features(3, 5)
    first, second = (layer(x) for layer, x in zip(module.projections, features, strict=True))
    expected = [[first, torch.zeros_like(second)], [torch.zeros_like(first), second]]
    for found, sequence in zip(module.unimodal_logits(features), expected, strict=True):
        close(found, module.head(_read(module, sequence)))


def test_defaults_of_the_paper() -> None:
    module = MLLSTMFusion([512, 512], 6)
    assert (module.lstm.num_layers, module.lstm.hidden_size, module.lstm.dropout) == (2, 512, 0)
    assert sum(p.numel() for p in module.lstm.parameters()) == 2 * 4 * (2 * 512 * 512 + 2 * 512)
