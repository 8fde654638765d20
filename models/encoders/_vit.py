"""The blocks of Vision Transformers: Dosovitskiy et al., "An Image Is Worth 16x16 Words", ICLR 2021."""

from __future__ import annotations

from collections import OrderedDict

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models.encoders.base import AttentionOptions


class TransformerOptions(AttentionOptions):
    """Sizes of a Transformer of pre-norm blocks; those of ViT-B."""

    pretrained: str | None = Field(None, min_length=1, description="null: random weights; or a local file")
    width: int = Field(768, ge=4, le=16_384, multiple_of=4, description="numbers of a token, and of the feature")
    depth: int = Field(12, ge=1, le=1_000, description="blocks")
    heads: int = Field(12, ge=1, le=1_000, description="attention heads; they divide the width")


class Block(nn.Module):
    """Attention and a layer of four times the width, each after a layer norm and added to what it read: [B, L, D] ->
    the same. Linear weights Xavier uniform, biases zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(width, 4 * width), act=nn.GELU(), fc2=nn.Linear(4 * width, width))
        )
        self.apply(xavier_uniform)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """mask: bool [B, L], False for tokens that nobody attends to."""
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))


class _Attention(nn.Module):
    """Multi-head attention of the tokens over one another."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (
            self.qkv(x).view(batch, length, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        )
        seen = None if mask is None else mask[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, width))


def xavier_uniform(module: nn.Module) -> None:
    """Initialise a linear layer as these networks do; for ``apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
