"""Attention layers of any network, found by the names that their weights have in torch, transformers and timm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

_HEAD_ROWS = {f"{part}{end}" for part in ("q_proj", "k_proj", "v_proj") for end in (".weight", "_weight")}
_HEAD_ROWS |= {"query.weight", "key.weight", "value.weight"}
_FUSED_ROWS = {"in_proj_weight", "in_proj.weight", "qkv.weight"}
_HEAD_COLS = {"out_proj.weight", "o_proj.weight", "proj.weight", "output.dense.weight"}


@dataclass(frozen=True, eq=False)
class Projection:
    """A matrix of an attention layer, of which each head has a block of rows, or of columns.

    name: path of the weight inside the network. part: index of the matrix in a weight that holds those of queries, keys
    and values one below the other; else everything."""

    name: str
    weight: nn.Parameter
    by_rows: bool
    num_heads: int
    part: Any = ...


def attention_layers(network: nn.Module) -> Iterator[list[Projection]]:
    """Find the projections of each attention layer, layers in the order of declaration."""
    for path, module in network.named_modules():
        if found := _projections(network, path, module):
            yield found


def _projections(network: nn.Module, path: str, module: nn.Module) -> list[Projection]:
    """Find those of an attention layer; none of any other module."""
    heads = getattr(module, "num_heads", None) or getattr(module, "num_attention_heads", None)
    if not isinstance(heads, int):
        return []
    # BERT keeps its output projection beside the attention proper, which it calls self.
    parent, _, last = path.rpartition(".")
    home = parent if last == "self" else path
    found = []
    for name, weight in network.get_submodule(home).named_parameters():
        role, name = name.removeprefix("self."), f"{home}.{name}".lstrip(".")
        if role in _FUSED_ROWS:
            thirds = [slice(third * len(weight) // 3, (third + 1) * len(weight) // 3) for third in range(3)]
            found += [Projection(name, weight, True, heads, third) for third in thirds]
        elif role in _HEAD_ROWS or role in _HEAD_COLS:
            found.append(Projection(name, weight, role in _HEAD_ROWS, heads))
    return found


def cuts_patches(path: str, convolution: _ConvNd) -> bool:
    """Tell whether the convolution at ``path`` of a Transformer embeds patches, which may overlap."""
    apart = convolution.stride == convolution.kernel_size and max(convolution.stride) > 1
    return apart or "embed" in path or "patch" in path
