"""M3AE for images and texts: one Transformer that was pretrained on both, here one copy a modality.

Geng et al., "Multimodal Masked Autoencoders Learn Transferable Representations", 2022; its base size, as the
experiments on IEMOCAP use it. Checkpoints: torch conversions of the published weights, by their names of tensors."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models import small
from models.encoders._text import TextEncoder
from models.encoders._vit import Block, TransformerOptions, xavier_uniform
from models.encoders.base import Encoder, Shape, all_count
from models.encoders.checkpoints import Renaming, load_weights, local_weights, rename
from models.positions import grid_sines, sines

_NAMES: list[Renaming] = [
    (r"cls_token$", "trunk.class_token"),
    (r"encoder\.layer_norm\.", "trunk.norm."),
    (r"encoder\.blocks\.(\d+)\.layer_norm([12])\.", r"trunk.blocks.\1.norm\2."),
    (r"encoder\.blocks\.(\d+)\.attention\.qkv_linear\.", r"trunk.blocks.\1.attn.qkv."),
    (r"encoder\.blocks\.(\d+)\.attention\.fc\.", r"trunk.blocks.\1.attn.proj."),
    (r"encoder\.blocks\.(\d+)\.transformer_mlp\.", r"trunk.blocks.\1.mlp."),
    (r"decoder|(image|text)_mask_embedding", None),
]


class M3AEImageOptions(TransformerOptions):
    patch: int = Field(16, ge=1, le=4_096, description="pixels of a side of a patch")
    patch_order: Literal["row_column_channel", "channel_row_column"] = Field(
        "row_column_channel", description="order of a patch's numbers: that of pretraining, or of the MLA experiments"
    )


class M3AETextOptions(TransformerOptions):
    vocabulary: int = Field(30522, ge=1, le=2_000_000, description="number of token ids; that of bert-base-uncased")
    pool: Literal["mask", "all"] = Field(
        "mask", description="the feature is the mean of class token and real tokens, or of padding too"
    )


class M3AEImage(Encoder):
    """Patches of images [C, H, W] with fixed positions and a class token through the blocks; the feature is the mean
    of all tokens. Published for 256 x 256 pixels, 256 patches of 16 x 16 x 3 = 768 numbers."""

    name = "m3ae_image"
    Options = M3AEImageOptions
    table: Tensor

    def __init__(self, shape: Shape, options: M3AEImageOptions | None = None) -> None:
        super().__init__()
        options = options or M3AEImageOptions()
        patch = options.patch
        self.require(shape, options)
        self.patch, self.patch_order = patch, options.patch_order
        self.embedding = nn.Linear(shape[0] * patch**2, options.width)
        xavier_uniform(self.embedding)
        self.trunk = _Trunk(options)
        self.register_buffer("table", grid_sines(shape[1] // patch, shape[2] // patch, options.width), persistent=False)
        self.out_dim = options.width
        if options.pretrained is not None:
            _load(self, options.pretrained, "image")

    @classmethod
    def fits(cls, shape: Shape, options: M3AEImageOptions) -> bool:
        return len(shape) == 3 and min(shape) >= 1 and not any(n % options.patch for n in shape[1:])

    @classmethod
    def takes(cls, options: M3AEImageOptions) -> str:
        return f"[C, H, W] with H and W multiples of {options.patch}"

    def patches(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, L, patch x patch x C], row by row of patches, numbers in the order of the option."""
        whole = x.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        order = (0, 2, 4, 3, 5, 1) if self.patch_order == "row_column_channel" else (0, 2, 4, 1, 3, 5)
        return whole.permute(order).flatten(3).flatten(1, 2)

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> [B, 1 + L, D]: class token and patches."""
        return all_count(self._encode(x))

    def _encode(self, x: Tensor) -> Tensor:
        return self.trunk(self.embedding(self.patches(x)) + self.table)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, D]."""
        return self._encode(x).mean(1)


class M3AEText(TextEncoder):
    """Tokens of texts [2, L] (ids, attention mask) with fixed positions and a class token through the blocks, in which
    nobody attends to padding. Published for L = 256 word pieces of bert-base-uncased without special tokens."""

    name = "m3ae_text"
    Options = M3AETextOptions
    table: Tensor

    def __init__(self, shape: Shape, options: M3AETextOptions | None = None) -> None:
        options = options or M3AETextOptions()
        super().__init__(shape, options)
        self.pool = options.pool
        self.embedding = nn.Embedding(options.vocabulary, options.width)
        self.trunk = _Trunk(options)
        self.register_buffer("table", sines(torch.arange(shape[1]), options.width), persistent=False)
        self.out_dim = options.width
        if options.pretrained is not None:
            _load(self, options.pretrained, "text")

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 2, L] -> [B, 1 + L, D]: class token and tokens; padding does not count, the class token always does."""
        ids, mask = self.split(x)
        seen = F.pad(mask, (1, 0), value=True)
        return self.trunk(self.embedding(ids) + self.table, seen), seen

    def forward(self, x: Tensor) -> Tensor:
        """[B, 2, L] -> [B, D]."""
        tokens, seen = self.tokens(x)
        if self.pool == "all":
            return tokens.mean(1)
        return (tokens * seen.unsqueeze(2)).sum(1) / seen.sum(1, keepdim=True)


class _Trunk(nn.Module):
    """What both modalities share: a class token in front, a type vector, blocks and the last layer norm."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        self.class_token, self.type_vector = small(1, 1, options.width), small(1, 1, options.width)
        self.blocks = nn.ModuleList(Block(options.width, options.heads) for _ in range(options.depth))
        self.norm = nn.LayerNorm(options.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L, D], and mask bool [B, 1 + L] with False for padding -> [B, 1 + L, D]."""
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x + self.type_vector], dim=1)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


def _load(module: nn.Module, pretrained: str, modality: Literal["image", "text"]) -> None:
    other = "text" if modality == "image" else "image"
    rules: list[Renaming] = [
        (rf"encoder_{modality}_type_embedding$", "trunk.type_vector"),
        (rf"{modality}_embedding\.", "embedding."),
        (rf"encoder_{other}_type_embedding$|{other}_embedding\.", None),
    ]
    load_weights(module, rename(local_weights(pretrained), [*rules, *_NAMES])).tell(pretrained)
