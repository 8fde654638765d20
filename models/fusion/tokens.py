"""Fusions in which a class token reads the modalities by attention: ``late_transformer`` and ``attention``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models import linear, small
from models.fusion.base import Fusion, FusionOutput, Source, apply, one_at_a_time, require
from models.fusion.token_equations import (
    ACTIVATIONS,
    class_attention,
    one_modality,
    token_sequence,
    transformer_layer,
)
from models.positions import sines


class TokenFusion(Fusion):
    """Base of the fusions in which a class token reads the modalities' tokens; one classifier on what it has read.
    Absent modalities are masked. Native: the fused logits with all other modalities masked.

    dims: width d_m of each modality's tokens. token_width: D, to which they are projected (None: the largest d_m,
    rounded up to a multiple of the heads). tokens: one, a feature [B, d_m] is a token; all, a feature is its modality's
    tokens, as :func:`marked_tokens` writes them, [B, L_m, d_m + 1], or [B, L_m, d_m] where every one counts; auxiliary
    heads then read the mean of those that count. Raises ValueError where the heads do not divide D."""

    has_native = True
    one_a_modality = ("projections",)

    def __init__(
        self,
        dims: list[int],
        num_classes: int,
        *,
        num_heads: int,
        token_width: int | None,
        tokens: str,
        project_all: bool,
        **shared: Any,
    ) -> None:
        super().__init__(dims, num_classes, **shared)
        require("tokens", tokens, ("one", "all"))
        width = -(-max(dims) // num_heads) * num_heads if token_width is None else token_width
        if width % num_heads:
            raise ValueError(f"fusion {self.name}: {num_heads} heads do not divide a token_width of {width}")
        self.dims, self.width, self.num_heads, self.may_be_marked = dims, width, num_heads, tokens == "all"
        self.class_token = small(width)
        self.projections = nn.ModuleList(
            linear(dim, width) if project_all or dim != width else nn.Identity() for dim in dims
        )
        self.head = linear(width, num_classes)
        self._present: Tensor | None = None

    @abstractmethod
    def read(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mix tokens [B, 1 + L, D]: what the class token has read, [B, D], and what else is of interest."""

    def positions(self, lengths: Sequence[int]) -> Tensor | None:
        """Give what is added to the sequence of class token and modalities' tokens, [1 + L, D]; None: nothing."""
        return None

    @contextmanager
    def only(self, present: Tensor) -> Iterator[None]:
        """Mask inside all modalities that are not ``present``, bool [M] or [B, M], wherever it is not said again."""
        before, self._present = self._present, present
        try:
            yield
        finally:
            self._present = before

    def forward(self, features: list[Tensor], present: Tensor | None = None) -> FusionOutput:
        """Fuse features; absent modalities, by ``present`` (bool [M] or [B, M]), are masked."""
        return self._fused(*self._tokens_of(features), present)

    def fuse(self, features: list[Tensor], present: Tensor | None = None) -> FusionOutput:
        return self(features, present)

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        tokens, counted = self._tokens_of(features)
        sequence, lengths = self._sequence(tokens, counted, None), [x.shape[1] for x in tokens]
        rows, masks = sequence["tokens"].repeat(len(lengths), 1, 1), one_modality(sequence["mask"], lengths)
        return list(self.head(self.read(rows, masks)[0]).chunk(len(lengths)))

    def zero_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Compute fused logits of each modality, the tokens of the others present but zeroed."""
        tokens, counted = self._tokens_of(features)
        return [self._fused(alone, counted, None).logits for alone in one_at_a_time(tokens)]

    def unimodal_logits(self, features: list[Tensor], source: Source | None = None) -> list[Tensor]:
        if source == "aux":
            features = [_mean_of(x, own) for x, own in zip(*self._tokens_of(features), strict=True)]
        return super().unimodal_logits(features, source)

    def by_modality(self, sequence: Tensor, features: list[Tensor]) -> list[Tensor]:
        """Part what is given of every token, [B, 1 + L, ...], into [B, L_m, ...] each, without the class token."""
        return list(sequence[:, 1:].split([x.shape[1] if x.dim() == 3 else 1 for x in features], dim=1))

    def _tokens_of(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
        """Part features into tokens [B, L_m, d_m] and which of them count, bool [B, L_m], None for all."""
        tokens, counted = list[Tensor](), list[Tensor | None]()
        for x, dim in zip(features, self.dims, strict=True):
            x = x if x.dim() == 3 else x.unsqueeze(1)
            marked = self.may_be_marked and x.shape[2] == dim + 1
            tokens.append(x[..., :dim] if marked else x)
            counted.append(x[..., dim] > 0 if marked else None)
        return tokens, counted

    def _sequence(
        self, tokens: list[Tensor], counted: list[Tensor | None], present: Tensor | None
    ) -> dict[str, Tensor]:
        present = self._present if present is None else present
        positions = self.positions([x.shape[1] for x in tokens])
        projected = apply(self.projections, tokens)
        return token_sequence(projected, self.class_token, positions=positions, present=present, counted=counted)

    def _fused(self, tokens: list[Tensor], counted: list[Tensor | None], present: Tensor | None) -> FusionOutput:
        sequence = self._sequence(tokens, counted, present)
        hidden, extra = self.read(sequence["tokens"], sequence["mask"])
        return FusionOutput(self.head(hidden), [hidden], extra)


class LateTransformerFusion(TokenFusion):
    """Self-attention layers mix the projected features, with positions; a class token is classified.

    transformer_depth: layers. feedforward_width: F (None: 2 D). transformer_dropout: in training, on attention weights,
    inside the feed-forward part and on what is added; every worker draws its own. norm: post or pre. positions: fixed,
    sines and cosines; learned, one vector a modality and one of the class token.

    Rheude, Eils and Wild, "Fusion or Confusion? Multimodal Complexity Is Not All You Need", 2025 (SimBaMM)."""

    name = "late_transformer"
    title = "Transformer over one token a modality, read by a class token"
    paper = "Rheude, Eils and Wild, 2025"
    options = frozenset(
        {
            "token_width", "tokens", "transformer_depth", "transformer_heads", "feedforward_width",
            "transformer_dropout", "norm", "activation", "positions",
        }
    )  # fmt: skip

    def __init__(
        self,
        dims: list[int],
        num_classes: int,
        *,
        token_width: int | None = None,
        tokens: str = "one",
        transformer_depth: int = 2,
        transformer_heads: int = 4,
        feedforward_width: int | None = None,
        transformer_dropout: float = 0.0,
        norm: str = "post",
        activation: str = "relu",
        positions: str = "fixed",
        **shared: Any,
    ) -> None:
        super().__init__(
            dims,
            num_classes,
            num_heads=transformer_heads,
            token_width=token_width,
            tokens=tokens,
            project_all=True,
            **shared,
        )
        require("norm", norm, ("post", "pre"))
        require("activation", activation, tuple(ACTIVATIONS))
        require("positions", positions, ("fixed", "learned"))
        self.norm, self.activation, self.dropout = norm, activation, transformer_dropout
        hidden = feedforward_width or 2 * self.width
        self.layers = nn.ModuleList(_layer(self.width, hidden) for _ in range(transformer_depth))
        self.final_norm = nn.LayerNorm(self.width) if norm == "pre" else nn.Identity()
        self.learned = small(1 + len(dims), self.width) if positions == "learned" else None

    def positions(self, lengths: Sequence[int]) -> Tensor:
        if self.learned is not None:
            parts = zip(self.learned.split(1), [1, *lengths], strict=True)
            return torch.cat([one.expand(length, -1) for one, length in parts])
        numbers = torch.arange(1 + sum(lengths), device=self.class_token.device)
        # An odd width takes the columns of the next even one.
        return sines(numbers, self.width + self.width % 2)[:, : self.width].to(self.class_token.dtype)

    def read(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        dropout = self.dropout if self.training else 0.0
        for layer in self.layers:
            tokens = transformer_layer(
                tokens, mask, _tensors(layer), self.num_heads, self.norm, self.activation, dropout
            )
        return self.final_norm(tokens[:, 0]), {}


class AttentionFusion(TokenFusion):
    """A class token attends once to the features, which are projected where their width is another one, or to the
    encoders' tokens; what it has read is classified. No residual, no norm, no positions.

    heads: attention heads. fusion_dropout: in training, on attention weights and what is read; every worker draws its
    own. ``rotation`` [D, D], a buffer, turns the class token's query: the identity, unless a method sets it. ``extra``
    of the output: ``query`` [B, D] after the rotation, ``keys`` [B, 1 + L, D] and ``mask``, the class token's first.

    The fusion of Ni et al., "RollingQ: Reviving the Cooperation Dynamics in Multimodal Transformer", ICML 2025."""

    name = "attention"
    title = "class token that attends once to the modalities' tokens"
    paper = "Ni et al., ICML 2025"
    options = frozenset({"token_width", "tokens", "heads", "fusion_dropout"})
    rotation: Tensor

    def __init__(
        self,
        dims: list[int],
        num_classes: int,
        *,
        token_width: int | None = None,
        tokens: str = "one",
        heads: int = 1,
        fusion_dropout: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(
            dims, num_classes, num_heads=heads, token_width=token_width, tokens=tokens, project_all=False, **shared
        )
        self.dropout = fusion_dropout
        self.attention = nn.ModuleDict({name: linear(self.width, self.width) for name in ("query", "key", "value")})
        self.attention["out"] = linear(self.width, self.width)
        self.register_buffer("rotation", torch.eye(self.width))

    def read(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        dropout = self.dropout if self.training else 0.0
        found = class_attention(tokens, mask, _tensors(self.attention), self.rotation, self.num_heads, dropout)
        return found["output"], {"query": found["query"], "keys": found["keys"], "mask": mask}


def _layer(width: int, hidden: int) -> nn.ModuleDict:
    """Make what :func:`transformer_layer` takes its parameters from."""
    return nn.ModuleDict(
        {
            "in_proj": linear(width, 3 * width),
            "out_proj": linear(width, width),
            "linear1": linear(width, hidden),
            "linear2": linear(hidden, width),
            "norm1": nn.LayerNorm(width),
            "norm2": nn.LayerNorm(width),
        }
    )


def _tensors(modules: nn.Module) -> dict[str, Tensor]:
    """Name parameters as the equations do: ``out_proj.weight`` is out_proj_weight."""
    return {name.replace(".", "_"): parameter for name, parameter in modules.named_parameters()}


def _mean_of(tokens: Tensor, counted: Tensor | None) -> Tensor:
    """Average the tokens [B, L, d] that count, [B, d]; zeros where none does."""
    if counted is None:
        return tokens.mean(1)
    return (tokens * counted.unsqueeze(2)).sum(1) / counted.sum(1, keepdim=True).clamp_min(1)
