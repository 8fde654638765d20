"""The blocks of Vision Transformers are torch's pre-norm layers."""

from __future__ import annotations

import math

import torch
from support.tiny_encoders import number_bounds
from torch import nn

from models.encoders._vit import Block, TransformerOptions


def test_a_block_is_torchs_pre_norm_layer() -> None:
    torch.manual_seed(0)
    block = Block(16, 4)
    layer = nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0, activation="gelu", norm_first=True, batch_first=True
    ).train()
    state = block.state_dict()
    names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear": "mlp.fc", "norm": "norm"}
    for name in layer.state_dict():
        theirs, ours = next((a, b) for a, b in names.items() if name.startswith(a))
        layer.state_dict()[name].copy_(state[ours + name.removeprefix(theirs)])
    x, mask = torch.randn(3, 6, 16), torch.rand(3, 6) < 0.7
    mask[:, 0] = True
    torch.testing.assert_close(block(x), layer(x))
    torch.testing.assert_close(block(x, mask), layer(x, src_key_padding_mask=~mask))


def test_layers_start_xavier_uniform() -> None:
    torch.manual_seed(0)
    block = Block(96, 4)
    bound = math.sqrt(6 / (96 + 3 * 96))
    assert 0.95 * bound < block.attn.qkv.weight.abs().max() <= bound
    assert not block.mlp.fc1.bias.any()


def test_sizes_have_bounds_that_still_fit_a_machine() -> None:
    assert number_bounds(TransformerOptions) == {"width": (4, 16_384), "depth": (1, 1_000), "heads": (1, 1_000)}
