"""Methods with one of the platform's fusion modules: which fusion, with which options, and how it is wired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from data.base import Batch
from methods.base.context import Context
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_fusion, reads_tokens
from methods.base.method import MULTI, Method, MethodError, Outputs
from models import fusion as fusions
from models.encoders import staged

FusionT = TypeVar("FusionT", bound=FusionHyperparameters)


class FusedMethod(Method[FusionT]):
    """A method with a fusion module, ``class BSS(FusedMethod[BSSHyperparameters])``. Features are fused by
    ``self.fusion.fuse``: with ``fusion: channel`` the encoders run side by side, and their features depend on one
    another."""

    replaces_fusion_loss: ClassVar[bool] = True
    """Refuse fusions that only a loss of their own can train; False where :meth:`loss` is all that trains."""
    computes_with_features: ClassVar[bool] = False
    """Refuse ``tokens: all``, of which a modality's feature is no vector; False where features are but fused, or
    replaced by zeros."""

    fusion: fusions.Fusion
    source: fusions.Source | None
    """Where unimodal logits come from; None: the fusion's own way."""

    @classmethod
    def check(cls, hyperparameters: FusionT, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities, own_loss=not cls.replaces_fusion_loss, side_by_side=True)
        if cls.computes_with_features and reads_tokens(hyperparameters):
            raise MethodError(
                f"{cls.name} computes with each modality's feature, which has to be one vector; use tokens: one"
            )

    @classmethod
    def world_size_matters(cls, hyperparameters: FusionT) -> bool:
        """Tell whether the fusion drops at random."""
        dropout = {"late_transformer": hyperparameters.transformer_dropout, "attention": hyperparameters.fusion_dropout}
        return dropout.get(hyperparameters.fusion, 0.0) > 0

    def build(self) -> None:
        """Make the fusion module, with auxiliary heads where unimodal logits come from these."""
        hp, encoders = self.hyperparameters, list(self.encoders.values())
        self.source = hp.unimodal_source or self.usual_source()
        self.fusion = build_fusion(hp, self.modalities, self.dims, self.num_classes, self.source == "aux", encoders)

    def usual_source(self) -> fusions.Source | None:
        """Tell where unimodal logits come from unless ``unimodal_source`` says it."""
        return None

    def encode(self, batch: Batch, present: Sequence[str] | None = None) -> list[Tensor]:
        """Give the features [B, d_m] of each modality; with ``tokens: all`` its tokens, [B, L_m, d_m + 1], the last
        number of which is 0 where there is none. present: the modalities of which ``channel`` lets the others know
        (default: all)."""
        if reads_tokens(self.hyperparameters):
            return [self.tokens_of(modality, batch) for modality in self.modalities]
        if not isinstance(self.fusion, fusions.ChannelFusion):
            return super().encode(batch)
        kept = [present is None or m in present for m in self.modalities]
        return self.fusion.encode([batch.inputs[m] for m in self.modalities], kept)

    def tokens_of(self, modality: str, batch: Batch) -> Tensor:
        """Give the tokens [B, L_m, d_m + 1] of one modality; of samples that lack it none counts."""
        tokens, counted = self.encoders[modality].tokens(batch.inputs[modality])  # type: ignore[operator]
        there = batch.present.get(modality)
        return fusions.marked_tokens(tokens, counted if there is None else counted & there.unsqueeze(1))

    def training_outputs(self, batch: Batch, context: Context) -> Outputs:
        if not batch.present or not isinstance(self.fusion, fusions.TokenFusion):
            return super().training_outputs(batch, context)
        with self.fusion.only(batch.presence(self.modalities)):
            return super().training_outputs(batch, context)

    def forward(self, batch: Batch) -> Outputs:
        """Give features, fused logits, and the unimodal logits that the objective needs."""
        features = self.encode(batch)
        output = self.fusion.fuse(features)
        return Outputs(features, output.logits, self.objective_logits(features), output.extra)

    def unimodal_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give the logits [B, C] of each modality from features [B, d_m]."""
        return self.fusion.unimodal_logits(features, self.source)

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give the unimodal logits that the objective needs, [B, C] each. Default: those of every modality."""
        return self.unimodal_logits(features)

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the mean over the batch. Default: the fusion's own loss."""
        output = fusions.FusionOutput(outputs.logits, outputs.features, outputs.extra)
        return self.fusion.loss(output, batch.labels, context.epoch - 1)

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Give the logits of the fusion, and of each modality."""
        unimodal = self.unimodal_logits(features)
        return {MULTI: self.fusion.fuse(features).logits, **dict(zip(self.modalities, unimodal, strict=True))}

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        if isinstance(self.fusion, fusions.ChannelFusion):
            return self.classify(self.encode(batch, present))
        if present is None or not isinstance(self.fusion, fusions.TokenFusion):
            return super().predict(batch, present)
        kept = torch.ones(len(self.modalities), dtype=torch.bool, device=self.fusion.class_token.device)
        for m, modality in enumerate(self.modalities):
            kept[m] = modality in present
        with self.fusion.only(kept):
            return super().predict(batch, present)


LINEAR_HEADS = ("concat", "sum")
"""Fusions whose fused logits are linear in the concatenated features."""


def linear_head(fusion: fusions.Fusion) -> tuple[Tensor, Tensor | None]:
    """Give weight [C, Σ d_m] and bias [C] (None: it has none) of a fusion of :data:`LINEAR_HEADS`; the heads of ``sum``
    are blocks of columns, their biases add up."""
    layers = fusion.head_layers
    biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    return torch.cat([layer.weight for layer in layers], dim=1), torch.stack(biases).sum(0) if biases else None


def build_fusion(
    hyperparameters: FusionHyperparameters,
    modalities: Sequence[str],
    dims: list[int],
    num_classes: int,
    aux_heads: bool = False,
    encoders: Sequence[nn.Module] = (),
) -> fusions.Fusion:
    """Build the fusion module that the hyperparameters ask for.

    aux_heads: with one linear head a modality beside it, on the encoder's feature (always built where
    ``unimodal_source`` is aux). encoders: the method's, which ``channel`` needs and uses without owning them. Raises
    MethodError where they have no stages, which channel_mode cen needs."""
    kind = fusions.fusion_class(hyperparameters.fusion, hyperparameters.channel_mode)
    options = hyperparameters.model_dump(include=set(kind.options))
    for option in ("film_target", "gate_target"):
        if options.get(option) is not None:
            options[option] = list(modalities).index(options[option])
    channel = hyperparameters.fusion == "channel"
    if reads_tokens(hyperparameters):
        for modality, encoder in zip(modalities, encoders, strict=True):
            if not hasattr(encoder, "tokens"):
                raise MethodError(f"tokens: all needs encoders with tokens, which {modality} does not have; use one")
        dims = [encoder.token_dim for encoder in encoders]  # type: ignore[misc]
    if channel:
        options |= {"channel_mode": hyperparameters.channel_mode, "owns_encoders": False}
        for modality, encoder in zip(modalities, encoders, strict=True):
            if kind.needs_stages and not hasattr(encoder, "stages"):
                raise MethodError(
                    f"fusion {kind.name} mixes the maps of convolutional encoders, which {modality} does not have; "
                    f"give it encoder {' or '.join(staged())}, or use channel_mode mmtm"
                )
    return fusions.build(
        hyperparameters.fusion,
        encoders if channel else dims,
        num_classes,
        aux_heads=aux_heads or hyperparameters.unimodal_source == "aux",
        aux_detach=hyperparameters.aux_detach,
        **options,
    )
