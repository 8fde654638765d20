"""Fusion modules: the modalities -> one prediction, and one for each modality alone.

Each file holds the equations of a family and then its classes. B: batch, M: modalities, d_m: width of modality m's
feature x_m, C: classes; lists are in modality order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from models.fusion.base import Fusion, FusionOutput, Source, require
from models.fusion.cen import CENFusion, channel_exchange, exchange_penalty
from models.fusion.conditional import FiLMFusion, GatedFusion, film, gated
from models.fusion.evidential import (
    ETMCFusion,
    annealing_weight,
    dempster_shafer,
    dirichlet_evidence,
    dirichlet_kl,
    etmc_loss,
    evidential_cross_entropy,
)
from models.fusion.mmtm import MMTM, GateRecord, MMTMFusion, mmtm_gates, mmtm_squeeze_width
from models.fusion.recurrent import MLLSTMFusion
from models.fusion.stages import ChannelFusion, channel_refusal
from models.fusion.token_equations import (
    class_attention,
    marked_tokens,
    token_sequence,
    transformer_layer,
    transformer_logits,
    transformer_unimodal_logits,
)
from models.fusion.tokens import AttentionFusion, LateTransformerFusion, TokenFusion
from models.fusion.vectors import (
    ConcatFusion,
    LateFusion,
    SumFusion,
    WeightFusion,
    concat_unimodal_logits,
    late_average,
    softmax_weights,
    weighted_features,
)

__all__ = [
    "CHANNEL_FUSIONS",
    "FUSIONS",
    "MMTM",
    "NAMES",
    "TOKEN_FUSIONS",
    "AttentionFusion",
    "CENFusion",
    "ChannelFusion",
    "ConcatFusion",
    "ETMCFusion",
    "FiLMFusion",
    "Fusion",
    "FusionOutput",
    "GateRecord",
    "GatedFusion",
    "LateFusion",
    "LateTransformerFusion",
    "MLLSTMFusion",
    "MMTMFusion",
    "Source",
    "SumFusion",
    "TokenFusion",
    "WeightFusion",
    "annealing_weight",
    "build",
    "channel_exchange",
    "channel_refusal",
    "class_attention",
    "concat_unimodal_logits",
    "dempster_shafer",
    "dirichlet_evidence",
    "dirichlet_kl",
    "etmc_loss",
    "evidential_cross_entropy",
    "exchange_penalty",
    "film",
    "fusion_class",
    "gated",
    "late_average",
    "marked_tokens",
    "mmtm_gates",
    "mmtm_squeeze_width",
    "softmax_weights",
    "token_sequence",
    "transformer_layer",
    "transformer_logits",
    "transformer_unimodal_logits",
    "weighted_features",
]

FUSIONS: dict[str, type[Fusion]] = {
    kind.name: kind
    for kind in (
        ConcatFusion, SumFusion, WeightFusion, FiLMFusion, GatedFusion, MLLSTMFusion, ETMCFusion, LateFusion,
        LateTransformerFusion, AttentionFusion,
    )
}  # fmt: skip
"""The fusions of feature vectors."""

CHANNEL_FUSIONS: dict[str, type[ChannelFusion]] = {"mmtm": MMTMFusion, "cen": CENFusion}
"""The fusions between encoders that run side by side: what ``channel`` means, by its mode."""

TOKEN_FUSIONS = tuple(name for name, kind in FUSIONS.items() if issubclass(kind, TokenFusion))
"""Names of the fusions that read tokens."""

NAMES = (
    "concat", "sum", "weight", "affine", "gated", "channel", "ml_lstm", "etmc", "late", "late_transformer", "attention"
)  # fmt: skip
"""Every fusion."""


def fusion_class(name: str, channel_mode: str = "mmtm") -> type[Fusion]:
    """Find the class of the fusion called ``name``. Raises ValueError for an unknown name or mode, with the nearest."""
    require("fusion", name, NAMES)
    require("channel_mode", channel_mode, tuple(CHANNEL_FUSIONS))
    return CHANNEL_FUSIONS[channel_mode] if name == "channel" else FUSIONS[name]


def build(
    name: str,
    parts: Sequence[int] | Sequence[nn.Module],
    num_classes: int,
    *,
    channel_mode: str = "mmtm",
    **options: Any,
) -> Fusion:
    """Build the fusion called ``name``. parts: the widths of the features, for ``channel`` the encoders themselves.

    Raises ValueError naming the wrong fusion or option and the nearest valid one, or saying what the fusion is not
    defined for."""
    kind: Any = fusion_class(name, channel_mode)
    shared = ("aux_heads", "aux_detach", *(("owns_encoders",) if name == "channel" else ()))
    for option in options:
        require(f"option of fusion {name}", option, (*sorted(kind.options), *shared))
    return kind(list(parts), num_classes, **options)
