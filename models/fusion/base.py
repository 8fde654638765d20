"""What all fusions share: the output, the base class and the ways to unimodal logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import linear, unknown

Source = Literal["native", "zero", "aux"]


@dataclass
class FusionOutput:
    """logits: [B, C]; features: what the last linear layer (or layers) sees, [B, ...] each; extra: what else the
    fusion's own loss needs."""

    logits: Tensor
    features: list[Tensor]
    extra: dict[str, Any] = field(default_factory=dict)


class Fusion(nn.Module, ABC):
    """Base of the fusion modules.

    dims: width d_m of each modality's feature. aux_heads: with one more linear head d_m -> C a modality, on the
    encoder's feature. aux_detach: these do not reach the encoders. (The fusions hand both on as ``shared``.)
    Raises ValueError for a number of modalities that the fusion is not defined for, or for a wrong option."""

    name: ClassVar[str]
    title: ClassVar[str]
    """The fusion in a few words, for lists."""
    paper: ClassVar[str] = ""
    """Authors, venue and year; empty for what belongs to everybody."""
    has_native: ClassVar[bool] = False
    """True where the fusion's own parameters give logits to a single modality."""
    options: ClassVar[frozenset[str]] = frozenset()
    """Names of the constructor's options beside ``aux_heads`` and ``aux_detach``."""
    needs_own_loss: ClassVar[bool] = False
    """True where the cross-entropy of the fused logits cannot take the place of :meth:`loss`."""
    needs_stages: ClassVar[bool] = False
    """True where only encoders with stages can be fused."""
    min_modalities: ClassVar[int] = 1
    one_a_modality: ClassVar[tuple[str, ...]] = ()
    """Names of the lists of modules, one a modality, that see this modality alone."""
    additive: bool = False
    """True where native unimodal logits add up to the fused ones."""

    def __init__(self, dims: list[int], num_classes: int, *, aux_heads: bool = False, aux_detach: bool = False) -> None:
        super().__init__()
        if not self.supports(len(dims)):
            needs = f"it needs at least {self.min_modalities}"
            raise ValueError(f"fusion {self.name} is not defined for M = {len(dims)} modalities; {needs}")
        self.aux_heads = heads(dims, num_classes) if aux_heads else None
        self.aux_detach = aux_detach

    @classmethod
    def supports(cls, modalities: int) -> bool:
        """Tell whether the fusion is defined for so many modalities."""
        return modalities >= cls.min_modalities

    def own_modules(self, position: int) -> list[nn.Module]:
        """List the modules that see one modality alone, its auxiliary head among them. position: from 0."""
        lists = [getattr(self, name) for name in ("aux_heads", *self.one_a_modality)]
        return [each[position] for each in lists if each is not None]

    @property
    def head_layers(self) -> list[nn.Linear]:
        """List the linear layers that give logits: one, or one a modality. Default: those called heads, or head."""
        found: Any = self.heads if hasattr(self, "heads") else [self.head]
        return list(found)

    @abstractmethod
    def forward(self, features: list[Tensor]) -> FusionOutput:
        """Fuse features [B, d_m]."""

    def fuse(self, features: list[Tensor], present: Tensor | None = None) -> FusionOutput:
        """As ``forward``, of every fusion: from one vector [B, d_m] a modality (where ``forward`` takes raw inputs, the
        pooled maps). present: bool [M] or [B, M]; absent modalities are masked where the fusion can, else zeroed."""
        return self(zeroed(features, present))

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Compute logits [B, C] of each modality by the fusion's own parameters."""
        raise ValueError(f"fusion {self.name} has no native unimodal logits; use the source zero or aux")

    def zero_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Compute fused logits [B, C] of each modality with the features of all others zeroed."""
        return [self.fuse(alone).logits for alone in one_at_a_time(features)]

    def unimodal_logits(self, features: list[Tensor], source: Source | None = None) -> list[Tensor]:
        """Compute logits [B, C] of each modality from the same features [B, d_m] as ``fuse``.

        source: native (see :meth:`native_logits`); zero (see :meth:`zero_logits`); aux: the auxiliary heads. None:
        native where there is such, else zero. Raises ValueError for a source that this fusion does not have."""
        source = source or ("native" if self.has_native else "zero")
        require("source of unimodal logits", source, ("native", "zero", "aux"))
        if source == "native":
            return self.native_logits(features)
        if source == "zero":
            return self.zero_logits(features)
        if self.aux_heads is None:
            raise ValueError(f"fusion {self.name} was built without auxiliary heads; build it with aux_heads=True")
        return apply(self.aux_heads, [x.detach() for x in features] if self.aux_detach else features)

    def loss(self, output: FusionOutput, target: Tensor, epoch: int = 0) -> Tensor:
        """Compute the fusion's own loss, a mean over the batch; cross-entropy of the fused logits where no other is
        defined. target: int64 [B]; epoch: counted from 0."""
        return F.cross_entropy(output.logits, target)


def heads(dims: Sequence[int], outputs: int) -> nn.ModuleList:
    """Make one linear layer d_m -> outputs a modality."""
    return nn.ModuleList(linear(dim, outputs) for dim in dims)


def apply(layers: nn.ModuleList, features: list[Tensor]) -> list[Tensor]:
    """Apply layer m to feature m."""
    return [layer(x) for layer, x in zip(layers, features, strict=True)]


def one_at_a_time(features: list[Tensor]) -> list[list[Tensor]]:
    """List for each modality all features, those of the others zeroed."""
    zeros = [torch.zeros_like(x) for x in features]
    return [[*zeros[:m], x, *zeros[m + 1 :]] for m, x in enumerate(features)]


def zeroed(features: list[Tensor], present: Tensor | None) -> list[Tensor]:
    """Put zeros in the place of absent features. present: bool [M] or [B, M]; None: all are."""
    if present is None:
        return features
    return [torch.where(present[..., m, None], x, torch.zeros_like(x)) for m, x in enumerate(features)]


def require(option: str, value: str, valid: Sequence[str]) -> None:
    """Refuse a ``value`` that is no valid choice: raises ValueError, which tells the nearest valid one."""
    if value not in valid:
        raise unknown(option, value, valid)
