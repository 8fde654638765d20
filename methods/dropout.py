"""Modality dropout: in some samples the fusion does without some of the modalities.

Neverova, Wolf, Taylor, Nebout, "ModDrop: Adaptive Multi-modal Gesture Recognition", TPAMI 2016; Xiao, Lee, Grauman,
Malik, Feichtenhofer, "Audiovisual SlowFast Networks for Video Recognition", 2020 (DropPathway).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from data.base import Batch
from methods.base import MULTI, Context, MethodError, Outputs, Phase
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import (
    FusionHyperparameters,
    check_fusion,
    check_no_auxiliary_heads,
    reads_tokens,
)
from methods.base.hyperparameters import Choice, Uniform, epoch_window, hyper
from models import unknown
from models.fusion import TokenFusion

Rescale = Literal["none", "inverted", "count"]
STREAM = "modality dropout"
USUAL_RATE = 0.3

# Equations -----------------------------------------------------------------------------------------------------


def keep_mask(uniform: Tensor, rates: Tensor) -> Tensor:
    """Tell which modalities are kept, bool [n, M]: those whose uniform number u, [n, M], is not below their drop rate
    q, [M]. Of a row that would lose all, the one with the largest u / q (of equals the first), which is each with
    probability 1 / M."""
    kept = uniform >= rates
    survivor = (uniform / rates.clamp_min(1e-12)).argmax(1, keepdim=True)
    alone = torch.zeros_like(kept).scatter(1, survivor, True)
    return torch.where(kept.any(1, keepdim=True), kept, alone)


def effective_rates(rates: Tensor) -> Tensor:
    """Compute how often each modality is dropped by :func:`keep_mask`: q'_m = q_m - Π_k q_k / M, [M]."""
    return rates - rates.prod() / len(rates)


def scale_factors(keep: Tensor, rates: Tensor, mode: str = "none") -> Tensor:
    """Compute what the features of kept modalities are multiplied by, [n, M], from keep bits, bool [n, M], and rates
    [M].

    mode: none, 1; inverted, 1 / (1 - q'_m), so that the mean of a feature stays what it is; count, M / number kept in
    the row. Raises ValueError for another."""
    if mode not in get_args(Rescale):
        raise unknown("rescale", mode, get_args(Rescale))
    if mode == "inverted":
        return (1 / (1 - effective_rates(rates)).clamp_min(1e-12)).expand(keep.shape)
    if mode == "count":
        counts = keep.sum(1, keepdim=True).clamp_min(1)
        return (keep.shape[1] / counts).to(rates).expand(keep.shape)
    return torch.ones_like(keep, dtype=rates.dtype)


def apply_keep(
    features: list[Tensor], keep: Tensor, fill: list[Tensor] | None = None, scale: Tensor | None = None
) -> list[Tensor]:
    """Put the fill in the place of dropped features, and scale those kept, as new tensors.

    features: [B, d_m] or [B, L_m, d_m] each; keep: bool [B, M]; fill: [d_m] each (None: zeros); scale: [B, M] (None:
    1). Nothing of a dropped feature reaches the result, nor a gradient the feature."""
    found = []
    for m, x in enumerate(features):
        of_rows = (-1, *[1] * (x.ndim - 1))
        absent = torch.zeros_like(x) if fill is None else fill[m].to(x.dtype).expand(x.shape)
        scaled = x if scale is None else x * scale[:, m].view(of_rows).to(x.dtype)
        found.append(torch.where(keep[:, m].view(of_rows), scaled, absent))
    return found


# Method --------------------------------------------------------------------------------------------------------


class DropoutHyperparameters(FusionHyperparameters):
    rate: float = hyper(USUAL_RATE, symbol="q", low=0.0, high=1.0, search=Uniform(0.05, 0.8))
    """probability that a modality is dropped"""
    rates: dict[str, Annotated[float, Field(ge=0, le=1)]] | None = hyper(None, symbol="q_m")
    """a probability for each modality that is named, 0 for the others (null: rate for all)"""
    granularity: Literal["sample", "batch"] = hyper("sample", search=Choice(("sample", "batch")))
    """whether each sample loses modalities of its own, or all of a batch the same ones"""
    fill: Literal["absent", "token"] = hyper("absent", search=Choice(("absent", "token")))
    """what stands for a dropped modality: what the fusion takes for an absent one, or a learned vector"""
    rescale: Rescale = hyper("none", search=Choice(get_args(Rescale)))
    """scale of features that are kept: 1, the inverse share of samples that keep them, or modalities over those kept"""
    start_epoch: float = hyper(0.0, low=0.0, epochs=True)
    """first epoch with dropout, counted from 0"""
    end_epoch: float | None = hyper(None, low=0.0, epochs=True)
    """last epoch with dropout, counted from 0 (null: the end)"""


class Dropout(FusedMethod[DropoutHyperparameters]):
    """In some samples, or in whole batches, one or several modalities are withheld from the fusion. The prediction then
    has to come from the others, so that every encoder gets gradient, and the fusion has met absent modalities before it
    does at inference. One modality is always kept.

    Source: Neverova et al., TPAMI 2016 (whole modalities dropped, sample by sample), as it is common practice.
    DropPathway (Xiao et al., 2020), the fast learner absent from most steps, is ``granularity: batch`` with ``rates:
    {audio: 0.8}``.

    Departures from the official code: DropPathway's drops the connections from audio into the visual pathways, and
    audio still reaches the classifier; here it follows the text, the modality is absent. There every process draws for
    itself; here all workers drop alike. Of samples that would lose everything one modality is kept, each as often as
    any other; drawing again would change the rates. Features are dropped, not inputs, which batch norm and biases turn
    into features again.

    Cost: one forward and one backward a step, as joint training; with ``granularity: batch`` those of the encoders that
    are kept alone. A dropped encoder rests in such a step: no momentum, no weight decay, no statistics."""

    name = "dropout"
    title = "Modality dropout, and DropPathway"
    paper = "Neverova et al.: ModDrop, TPAMI 2016"
    stages = ("feed-forward",)
    replaces_fusion_loss = False
    rates: Tensor

    @classmethod
    def phases_of(
        cls, hyperparameters: DropoutHyperparameters, modalities: tuple[str, ...], epochs: int
    ) -> list[Phase]:
        if hyperparameters.granularity == "sample":
            return [Phase("training", epochs)]
        window = epoch_window(hyperparameters.start_epoch, hyperparameters.end_epoch, epochs)
        dropped = float(effective_rates(drop_rates(hyperparameters, modalities)).mean())
        share = sum(epoch in window for epoch in range(epochs)) / epochs
        return [Phase("training", epochs, passes=1 - dropped * share)]

    def build(self) -> None:
        super().build()
        hp = self.hyperparameters
        self.window = epoch_window(hp.start_epoch, hp.end_epoch, self.epochs)
        self.register_buffer("rates", drop_rates(hp, self.modalities), persistent=False)
        self.tokens: nn.ParameterList | None = None
        if hp.fill == "token":
            self.tokens = nn.ParameterList(0.02 * torch.randn(size) for size in self.dims)

    @property
    def fills(self) -> list[Tensor] | None:
        """Give what stands for absent modalities, [d_m] each; None: zeros."""
        return None if self.tokens is None else list(self.tokens)

    def masking(self, keep: Tensor) -> AbstractContextManager[None]:
        """Mask absent modalities, by keep bits [M] or [B, M], where the fusion can and no token stands for them."""
        if self.tokens is None and isinstance(self.fusion, TokenFusion):
            return self.fusion.only(keep)
        return nullcontext()

    @property
    def capturable(self) -> bool:
        """Tell whether the device decides what is dropped, not the host."""
        return self.hyperparameters.granularity == "sample"

    # Training ----------------------------------------------------------------------------------------------------

    def training_outputs(self, batch: Batch, context: Context) -> Outputs:
        """Fuse what is kept in this step. Numbers are drawn in every epoch and for every modality, so that all settings
        share them."""
        if self.hyperparameters.granularity == "batch":
            features, keep = self.kept_modalities(batch, context)
            if batch.present:
                keep = keep & batch.presence(self.modalities)
                features = apply_keep(features, keep, self.fills)
        else:
            features, keep = self.kept_features(batch, context)
        with self.masking(keep):
            output = self.fusion.fuse(features)
        return Outputs(features, output.logits, extra=output.extra)

    def kept_features(self, batch: Batch, context: Context) -> tuple[list[Tensor], Tensor]:
        """Drop modalities of samples: features [B, d_m], and which of them are kept, bool [B, M]."""
        uniform = context.sample_numbers(STREAM, len(self.dims))
        drops = context.epoch - 1 in self.window
        rates = self.rates if drops else torch.zeros_like(self.rates)
        keep = keep_mask(uniform, rates)
        if drops:
            for m, kept in zip(self.modalities, keep.float().mean(0), strict=True):
                context.log(f"dropped_{m}", 1 - kept)
        if batch.present:
            keep = keep & batch.presence(self.modalities)
        return apply_keep(self.encode(batch), keep, self.fills, self.scale(keep, rates)), keep

    def kept_modalities(self, batch: Batch, context: Context) -> tuple[list[Tensor], Tensor]:
        """Drop modalities of the batch, whose encoders do not run: features [B, d_m], and which are kept, bool [M]."""
        if context.epoch - 1 not in self.window:
            return self.encode(batch), self.rates >= 0
        # The host decides which encoders run, by numbers of its own: nothing waits for the device.
        rates = drop_rates(self.hyperparameters, self.modalities)
        keep = keep_mask(torch.rand(1, len(rates), generator=context.generator(STREAM, context.step)), rates)
        factors = [1.0] * len(rates) if (scale := self.scale(keep, rates)) is None else scale[0].tolist()
        found = {
            m: self.feature_of(m, batch) * factor
            for m, kept, factor in zip(self.modalities, keep[0].tolist(), factors, strict=True)
            if kept
        }
        for m in self.modalities:
            context.log(f"dropped_{m}", float(m not in found))
        like = next(iter(found.values()))
        fills = [like.new_zeros(size) for size in self.dims] if self.fills is None else self.fills
        absent = {m: fill.to(like.dtype).expand(len(like), -1) for m, fill in zip(self.modalities, fills, strict=True)}
        return [found.get(m, absent[m]) for m in self.modalities], self.keep_bits(found)

    def keep_bits(self, present: Collection[str]) -> Tensor:
        """Tell on the device which modalities are present, bool [M]."""
        flags = [torch.full_like(self.rates[:1], float(m in present), dtype=torch.bool) for m in self.modalities]
        return torch.cat(flags)

    def scale(self, keep: Tensor, rates: Tensor) -> Tensor | None:
        """Compute the scale of kept features, [n, M]; None: 1."""
        mode = self.hyperparameters.rescale
        return None if mode == "none" else scale_factors(keep, rates, mode)

    # Inference ---------------------------------------------------------------------------------------------------

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        features = self.encode(batch)
        if present is None:
            return self.classify(features)
        fused = self.fused_alone(features, present)
        with self.masking(self.keep_bits(present)):
            unimodal = self.unimodal_logits(self.shown(features, present))
        return {MULTI: fused, **dict(zip(self.modalities, unimodal, strict=True))}

    def fused_alone(self, features: list[Tensor], present: Collection[str]) -> Tensor:
        """Compute the fused logits [B, C] with all modalities absent that are not ``present``."""
        with self.masking(self.keep_bits(present)):
            return self.fusion.fuse(self.shown(features, present, self.hyperparameters.rescale == "count")).logits

    def shown(self, features: list[Tensor], present: Collection[str], rescaled: bool = False) -> list[Tensor]:
        """Put the fill in the place of features of absent modalities. rescaled: multiply the others by modalities over
        those present."""
        keep = self.keep_bits(present).expand(len(features[0]), -1)
        return apply_keep(features, keep, self.fills, scale_factors(keep, self.rates, "count") if rescaled else None)

    def unimodal_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give the fusion's native logits, [B, C] each, else the fused ones with all other modalities absent."""
        if self.source == "native" or (self.source is None and self.fusion.has_native):
            return super().unimodal_logits(features)
        return [self.fused_alone(features, [m]) for m in self.modalities]

    # Checks, warnings, diagnostics -------------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: DropoutHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities, own_loss=True)
        check_no_auxiliary_heads(cls.name, hyperparameters)
        if reads_tokens(hyperparameters) and (
            hyperparameters.granularity == "batch" or hyperparameters.fill == "token"
        ):
            raise MethodError(
                "dropout: with tokens: all a fusion reads as many tokens as an encoder gives, which granularity: batch "
                "does not ask, and for which fill: token has one vector; use tokens: one, or granularity: sample with "
                "fill: absent"
            )
        if hyperparameters.rates is None:
            return
        if unknown_names := [m for m in hyperparameters.rates if m not in modalities]:
            raise MethodError(f"dropout: rates: {unknown('modality', unknown_names[0], modalities)}")
        if hyperparameters.rate != USUAL_RATE:
            raise MethodError("dropout: rates says what is dropped of each modality, and rate of all; keep one of them")

    def on_fit_start(self, context: Context) -> None:
        hp = self.hyperparameters
        if not self.window:
            context.warn("dropout: end_epoch comes before start_epoch, so nothing is dropped")
        if hp.fusion == "etmc" and hp.fill == "absent":
            context.warn("dropout: fusion etmc takes a head's bias as evidence of an absent modality; use fill: token")
        if hp.fusion == "late" and hp.late_train == "separate":
            context.warn("dropout: fusion late trains each modality apart, so no modality learns for an absent one")

    def diagnostics(self) -> dict[str, float]:
        """Logged, in epochs with dropout: the share of samples that lost each modality."""
        return super().diagnostics()


def drop_rates(hyperparameters: DropoutHyperparameters, modalities: Sequence[str]) -> Tensor:
    """Give the drop rate q of each modality, [M], on the host."""
    named = hyperparameters.rates
    return torch.tensor([hyperparameters.rate if named is None else named.get(m, 0.0) for m in modalities])
