"""Adapters beside the linear layers of a transformer, and what they share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.moka.equations import moka_delta
from models import unknown


@dataclass(frozen=True, eq=False)
class SequenceRoles:
    """What each token of a sequence is."""

    modality_ids: Tensor
    """int64 [B, L]: number of the token's weight A; -1: not adapted, padding above all."""
    keys: Tensor
    """bool [B, L]: tokens that others attend to."""


@dataclass(eq=False)
class Adaptation:
    """What all adapters of a network share: their settings, and the sequence of the forward pass under way."""

    count: int
    """M, weights A of a layer."""
    rank: int
    alpha: float
    dropout: float
    strengths: list[float] = field(default_factory=list)
    """λ of each modality; nothing: no token attends."""
    anchor: int = 0
    """Number of the modality that is attended to."""
    scale_before_attention: bool = False
    roles: SequenceRoles | None = None
    training: bool = False

    @contextmanager
    def of(self, roles: SequenceRoles, *, training: bool) -> Iterator[None]:
        """Adapt inside to sequences of these roles; dropout is for training alone."""
        self.roles, self.training = roles, training
        try:
            yield
        finally:
            self.roles = None

    def delta(self, x: Tensor, a_weights: list[Tensor], b_weight: Tensor) -> Tensor:
        """Compute what a layer's adapter adds for the tokens [B, L, D]: [B, L, D_out]."""
        assert self.roles is not None, "an adapted layer was called outside of Adaptation.of"
        return moka_delta(
            F.dropout(x, self.dropout, self.training),
            self.roles.modality_ids,
            self.roles.keys,
            a_weights,
            b_weight,
            self.alpha / self.rank,
            self.strengths or 0.0,
            self.anchor,
            self.scale_before_attention,
        )


class AdaptedLinear(nn.Module):
    """A linear layer with an adapter beside it, [B, L, D] -> [B, L, D_out]. Every A is Kaiming uniform with a = √5, B
    zero: at first the layer computes what it did without."""

    def __init__(self, base: nn.Linear, shared: Adaptation) -> None:
        super().__init__()
        self.base, self.shared = base, shared
        self.a_weights = nn.ParameterList(torch.empty(shared.rank, base.in_features) for _ in range(shared.count))
        for weight in self.a_weights:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        self.b_weight = nn.Parameter(torch.zeros(base.out_features, shared.rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.shared.delta(x, list(self.a_weights), self.b_weight)

    @property
    def own_parameters(self) -> list[nn.Parameter]:
        """List the adapter's: every A, then B."""
        return [*self.a_weights, self.b_weight]


def adapt(blocks: nn.Module, shared: Adaptation, targets: Sequence[str] | None = None) -> None:
    """Put an :class:`AdaptedLinear` in the place of the linear layers inside ``blocks``.

    targets: last parts of the names of those that are adapted (None: all). Raises ValueError where there are no linear
    layers, or none of that name."""
    layers = {path: layer for path, layer in blocks.named_modules() if isinstance(layer, nn.Linear)}
    names = {path: path.rpartition(".")[2] for path in layers}
    if not layers:
        raise ValueError("the backbone has no linear layers inside its blocks, which adapters stand beside")
    for target in targets or ():
        if target not in names.values():
            raise unknown("linear layer of the backbone", target, sorted(set(names.values())))
    for path, layer in layers.items():
        if targets is None or names[path] in targets:
            setattr(blocks.get_submodule(path.rpartition(".")[0]), names[path], AdaptedLinear(layer, shared))
