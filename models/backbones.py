"""Backbones: transformers that read one sequence of the tokens of all modalities, [B, L, D] -> one feature [B, D]."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from models import small
from models.encoders._hub import quiet
from models.encoders._text import pairs
from models.encoders._vit import Block
from models.encoders.checkpoints import UNREADABLE, absence, first_line, may_be_of_hub
from models.positions import sines

__all__ = ["Backbone", "ClassTokenTransformer", "PretrainedTransformer", "keep_constant", "magnitude"]


class Backbone(nn.Module):
    """Base of the backbones: ``forward(tokens, mask, places)`` maps [B, L, D] to [B, D]; mask: bool [B, L], False for
    padding, which nobody attends to and which is not counted. places: int64 [L], where in the sequence the tokens
    stand, if places that are padding in every sample have been left out."""

    width: int
    """D, of a token and of the feature."""
    front: int = 0
    """Tokens that the backbone puts in front of those that it is given."""

    @property
    @abstractmethod
    def blocks(self) -> nn.Module:
        """Give the transformer's blocks, without what lies before and behind them."""


class ClassTokenTransformer(Backbone):
    """``depth`` pre-norm blocks over the tokens, with the positions of sines and cosines; the feature is that of a
    class token in front of them. Random weights. Raises ValueError where the heads do not divide the width, and for an
    odd width."""

    front = 1

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if width % heads or width % 2:
            raise ValueError(f"a backbone needs an even width that its heads divide, not {width} and {heads} heads")
        self.width = width
        self.class_token = small(width)
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    @property
    def blocks(self) -> nn.Module:
        return self.layers

    def forward(self, tokens: Tensor, mask: Tensor, places: Tensor | None = None) -> Tensor:
        x = torch.cat([self.class_token.expand(len(tokens), 1, -1), tokens], dim=1)
        numbers = torch.arange(x.shape[1], device=x.device)
        if places is not None:
            numbers[1:] = places + 1
        x = x + sines(numbers, self.width).to(x.dtype)
        seen = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
        for block in self.layers:
            x = block(x, seen)
        return self.norm(x[:, 0])


class PretrainedTransformer(Backbone):
    """A model of the transformers library, from a local folder as save_pretrained writes it or from the library's hub,
    entered behind its table of tokens; the feature is the mean of the last hidden states. Positions count the tokens
    without padding. Where the model is causal, it stays so. Nothing is dropped in training.

    Raises ValueError where the weights cannot be had, are not all there, or are of another kind of model."""

    def __init__(self, pretrained: str) -> None:
        super().__init__()
        self.network = _loaded(pretrained)
        self.causal = any(getattr(module, "is_causal", False) for module in self.network.modules())
        self.width = self.table.embedding_dim

    @property
    def blocks(self) -> nn.Module:
        # Families call them layers, layer, h or block.
        return max((each for each in self.network.modules() if isinstance(each, nn.ModuleList)), key=len)

    @property
    def table(self) -> nn.Embedding:
        """Give the table that turns ids into tokens."""
        found: nn.Embedding = self.network.get_input_embeddings()
        return found

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: of what the library drops every worker would draw its own."""
        return super().train(False)

    def forward(self, tokens: Tensor, mask: Tensor, places: Tensor | None = None) -> Tensor:
        # Padding attends to itself: attention over nothing is not a number.
        itself = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
        hidden = self.network(
            inputs_embeds=tokens,
            attention_mask=pairs(mask, self.causal) | itself,
            position_ids=(mask.cumsum(1) - 1).clamp_min(0),
            use_cache=False,
        ).last_hidden_state
        return (hidden * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True).clamp_min(1)


def magnitude(module: nn.Module) -> Tensor:
    """Add up the magnitudes of all parameters, in double precision, 0-d: other weights, another sum."""
    return torch.stack([parameter.detach().abs().sum(dtype=torch.float64) for parameter in module.parameters()]).sum()


def keep_constant(module: nn.Module) -> None:
    """Turn parameters into constants that are trained by nobody and in no state: who builds the module anew has them
    again."""
    for each in module.modules():
        for name, parameter in list(each.named_parameters(recurse=False)):
            delattr(each, name)
            each.register_buffer(name, parameter.detach(), persistent=False)


def _loaded(pretrained: str) -> Any:
    """Load the library's model without a head. Raises ValueError."""
    from transformers import AutoModel

    folder = Path(pretrained).expanduser()
    if (reason := absence(pretrained, may_be_of_hub(pretrained))) is not None:
        raise ValueError(reason)
    try:
        with quiet():
            network, info = AutoModel.from_pretrained(
                str(folder) if folder.is_dir() else pretrained,
                dtype=torch.float32,
                attn_implementation="sdpa",
                output_loading_info=True,
            )
    except UNREADABLE as error:
        raise ValueError(
            f"pretrained: no backbone could be loaded from {pretrained} ({first_line(error)}); give the path of a "
            "local folder as save_pretrained writes it, or a name of the Hugging Face hub that can be reached"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"pretrained: {pretrained} lacks weights of the backbone, {missing[0]} among {len(missing)}")
    takes = inspect.signature(network.forward).parameters
    if network.config.is_encoder_decoder or not {"inputs_embeds", "attention_mask", "position_ids"} <= set(takes):
        raise ValueError(
            f"pretrained: {pretrained} is a {type(network).__name__}, which cannot be entered by inputs_embeds with "
            "positions; give a text transformer of one stack, as LLaMA or BERT"
        )
    return network
