"""Small Transformers over patches, trained from scratch: patch_transformer for arrays [C, T], vit for small images.

Dosovitskiy et al., "An Image Is Worth 16x16 Words", ICLR 2021, without a class token. Sizes are ours, for minutes on a
CPU."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models.encoders._vit import Block, xavier_uniform
from models.encoders.base import AttentionOptions, Encoder, Shape, all_count
from models.positions import grid_sines, sines


class ViTOptions(AttentionOptions):
    patch: int = Field(4, ge=1, description="pixels of a side of a patch")
    width: int = Field(64, ge=4, multiple_of=4, description="numbers of a token, and of the feature")
    depth: int = Field(4, ge=1, description="blocks")
    heads: int = Field(4, ge=1, description="attention heads; they divide the width")


class PatchTransformerOptions(ViTOptions):
    patch: int = Field(10, ge=1, description="steps of a patch; 5 to 50 patches are a good number")
    depth: int = Field(2, ge=1, description="blocks")


class _Patches(Encoder):
    """Patches through a linear layer, with fixed positions, then pre-norm blocks and a layer norm; the feature is the
    mean of the tokens. What the last patches lack is filled with zeros."""

    Options: ClassVar[type[ViTOptions]]
    axes: ClassVar[str]
    """Names of the axes that are cut."""
    table: Tensor

    def __init__(self, shape: Shape, options: ViTOptions | None = None) -> None:
        super().__init__()
        options = options or self.Options()
        self.require(shape, options)
        self.patch, self.out_dim = options.patch, options.width
        self.embedding = nn.Linear(shape[0] * options.patch ** len(self.axes), options.width)
        xavier_uniform(self.embedding)
        self.blocks = nn.ModuleList(Block(options.width, options.heads) for _ in range(options.depth))
        self.norm = nn.LayerNorm(options.width)
        self.register_buffer("table", _positions(shape, options), persistent=False)

    @classmethod
    def fits(cls, shape: Shape, options: ViTOptions) -> bool:
        return len(shape) == 1 + len(cls.axes) and shape[0] >= 1 and min(shape[1:]) >= options.patch

    @classmethod
    def takes(cls, options: ViTOptions) -> str:
        return f"[C, {', '.join(cls.axes)}] with {' and '.join(cls.axes)} of at least {options.patch}, its option patch"

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, ...] -> [B, L, width]: the patches, in the order of :func:`patchify`."""
        return all_count(self._encode(x))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, width]."""
        return self._encode(x).mean(1)

    def _encode(self, x: Tensor) -> Tensor:
        tokens = self.embedding(patchify(x, self.patch)) + self.table
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class PatchTransformer(_Patches):
    __doc__ = _Patches.__doc__

    name = "patch_transformer"
    Options = PatchTransformerOptions
    axes = "T"


class ViT(_Patches):
    __doc__ = _Patches.__doc__

    name = "vit"
    Options = ViTOptions
    axes = "HW"


def _positions(shape: Shape, options: ViTOptions) -> Tensor:
    """Tabulate the positions of the patches of a sample, [L, width]."""
    rows, *columns = (math.ceil(size / options.patch) for size in shape[1:])
    if not columns:
        return sines(torch.arange(rows), options.width)
    return grid_sines(rows, columns[0], options.width)


def pad_to_multiple(x: Tensor, patch: int) -> Tensor:
    """Pad [B, C, T] or [B, C, H, W] with zeros at the end of every axis after C, up to the next multiple of
    ``patch``."""
    missing = [-size % patch for size in x.shape[2:]]
    return F.pad(x, [count for size in reversed(missing) for count in (0, size)]) if any(missing) else x


def patchify(x: Tensor, patch: int) -> Tensor:
    """Cut [B, C, T] into patches [B, L, C patch] in the order of time, numbers by channel, then step; [B, C, H, W] into
    [B, L, C patch patch] row by row of patches, numbers by channel, row, column. Padded first."""
    x = pad_to_multiple(x, patch)
    axes = x.dim() - 2
    counts, inside = range(2, 2 + 2 * axes, 2), range(3, 3 + 2 * axes, 2)
    for axis in counts:
        x = x.unflatten(axis, (x.shape[axis] // patch, patch))
    return x.permute(0, *counts, 1, *inside).flatten(1 + axes).flatten(1, axes)
