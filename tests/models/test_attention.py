"""Attention layers are found by the names of their weights, whatever library they come from."""

from __future__ import annotations

import torch
from torch import nn

from models.attention import Projection, attention_layers, cuts_patches


class BertAttention(nn.Module):
    """The layout of BERT: output projection beside the attention proper."""

    def __init__(self) -> None:
        super().__init__()
        self.self = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("query", "key", "value")})
        self.self.num_attention_heads = 2
        self.output = nn.ModuleDict({"dense": nn.Linear(4, 4), "norm": nn.LayerNorm(4)})


class SeparateAttention(nn.Module):
    """The layout of CLIP: four projections side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 2
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(4, 4))


def shown(projections: list[Projection]) -> list[tuple[str, bool]]:
    return [(each.name, each.by_rows) for each in projections]


def test_the_projections_of_bert() -> None:
    (found,) = attention_layers(nn.ModuleDict({"layer": BertAttention(), "head": nn.Linear(4, 2)}))
    rows = [(f"layer.self.{name}.weight", True) for name in ("query", "key", "value")]
    assert shown(found) == [*rows, ("layer.output.dense.weight", False)]
    assert {each.num_heads for each in found} == {2}


def test_the_projections_of_clip() -> None:
    (found,) = attention_layers(SeparateAttention())
    rows = [(f"{name}_proj.weight", True) for name in "qkv"]
    assert shown(found) == [*rows, ("out_proj.weight", False)]


def test_one_weight_that_holds_three_matrices_is_cut_into_them() -> None:
    attention = nn.MultiheadAttention(4, 2)
    (found,) = attention_layers(nn.ModuleList([attention, nn.Linear(4, 4)]))
    assert shown(found) == [*[("0.in_proj_weight", True)] * 3, ("0.out_proj.weight", False)]
    assert torch.equal(torch.cat([each.weight[each.part] for each in found[:3]]), attention.in_proj_weight)
    assert found[3].weight is attention.out_proj.weight


def test_each_layer_comes_by_itself_and_other_modules_never() -> None:
    network = nn.Sequential(SeparateAttention(), nn.Linear(4, 4), SeparateAttention())
    assert [found[0].name for found in attention_layers(network)] == ["0.q_proj.weight", "2.q_proj.weight"]
    assert list(attention_layers(nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)))) == []


def test_a_convolution_that_cuts_patches_steps_over_them_or_is_called_so() -> None:
    assert cuts_patches("stem", nn.Conv2d(3, 8, 16, stride=16))
    assert cuts_patches("patch_embed.proj", nn.Conv2d(1, 8, 16, stride=10))
    assert cuts_patches("stem", nn.Conv2d(3, 8, (1, 2), stride=(1, 2)))
    assert cuts_patches("embedding", nn.Conv1d(3, 8, 3))
    assert not cuts_patches("stem", nn.Conv2d(3, 8, 3, stride=2))
    assert not cuts_patches("stem", nn.Conv2d(3, 8, 3))
    assert not cuts_patches("mixer", nn.Conv2d(8, 8, 1))
