"""Methods with one of the platform's fusion modules: which fusion, with which options, and how it is wired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, TypeVar

import torch
from pydantic import field_validator
from torch import Tensor, nn

from data.base import Batch
from methods.base.context import Context
from methods.base.hyperparameters import Choice, Hyperparameters, Integer, LogUniform, Uniform, hyper
from methods.base.method import MULTI, Method, MethodError, Outputs
from models import fusion as fusions
from models.encoders import staged

FusionName = Literal[
    "concat", "sum", "weight", "affine", "gated", "channel", "ml_lstm", "etmc", "late", "late_transformer", "attention"
]
_OF_TOKENS = ("fusion", fusions.TOKEN_FUSIONS)
_OF_TRANSFORMER = ("fusion", "late_transformer")


class FusionHyperparameters(Hyperparameters):
    """Hyperparameters of the fusion module (``models.fusion`` says what each does)."""

    fusion: FusionName = hyper(
        "concat",
        search=Choice(
            ("concat", "sum", "weight", "affine", "gated", "ml_lstm", "late", "late_transformer", "attention")
        ),
    )
    """how the modalities' features become one prediction"""
    film_direction: Literal["first_conditions_second", "second_conditions_first"] = hyper(
        "first_conditions_second",
        search=Choice(("first_conditions_second", "second_conditions_first")),
        only_if=("fusion", "affine"),
    )
    """which of two modalities scales and shifts the other"""
    film_target: str | None = hyper(None, only_if=("fusion", "affine"))
    """three and more modalities: the one that is scaled (null: the last)"""
    gate_direction: Literal["first_gates_second", "second_gates_first"] = hyper(
        "first_gates_second", search=Choice(("first_gates_second", "second_gates_first")), only_if=("fusion", "gated")
    )
    """which of two modalities gates the other"""
    gate_target: str | None = hyper(None, only_if=("fusion", "gated"))
    """three and more modalities: the one that is gated (null: the last)"""
    gate_width: int | None = hyper(None, low=1, symbol="D", only_if=("fusion", "gated"))
    """width of the gate (null: of the gated modality)"""
    weight_mode: Literal["softmax", "attention"] = hyper(
        "softmax", search=Choice(("softmax", "attention")), only_if=("fusion", "weight")
    )
    """weights from the features themselves, or from a small scoring network"""
    additive: bool = hyper(False, only_if=("fusion", "weight"))
    """unimodal logits that add up to the fused ones"""
    channel_mode: Literal["mmtm", "cen"] = hyper("mmtm", search=Choice(("mmtm", "cen")), only_if=("fusion", "channel"))
    """between convolutional stages: joint gates, or exchange of channels"""
    mmtm_ratio: int = hyper(4, low=1, symbol="r", search=Choice((2, 4, 8, 16)), only_if=("channel_mode", "mmtm"))
    """what the joint squeeze divides the channels by"""
    mmtm_scale: float = hyper(1.0, above=0.0, search=Choice((1.0, 2.0)), only_if=("channel_mode", "mmtm"))
    """factor of the gates (2: no excitation changes nothing)"""
    mmtm_stages: list[int] = hyper([2, 3, 4], only_if=("channel_mode", "mmtm"))
    """encoder stages, from 1, after which there are gates (beyond the last: the last)"""
    cen_threshold: float = hyper(
        0.02, low=0.0, symbol="θ", search=LogUniform(1e-3, 1e-1), only_if=("channel_mode", "cen")
    )
    """channels of a smaller batch norm scale are exchanged"""
    cen_l1: float = hyper(2e-4, low=0.0, symbol="λ", search=LogUniform(1e-5, 1e-2), only_if=("channel_mode", "cen"))
    """weight of the L1 penalty on batch norm scales"""
    lstm_layers: int = hyper(2, low=1, search=Integer(1, 3), only_if=("fusion", "ml_lstm"))
    """layers of the LSTM"""
    lstm_hidden: int = hyper(512, low=1, symbol="H", search=Choice((128, 256, 512)), only_if=("fusion", "ml_lstm"))
    """width of the LSTM and of what it reads"""
    evidence: Literal["softplus", "relu", "exp"] = hyper(
        "softplus", search=Choice(("softplus", "relu", "exp")), only_if=("fusion", "etmc")
    )
    """what makes evidence of logits"""
    annealing_epochs: int = hyper(10, low=0, symbol="T", search=Integer(1, 50, log=True), only_if=("fusion", "etmc"))
    """epochs until the divergence from the flat distribution counts fully"""
    late_train: Literal["separate", "joint"] = hyper(
        "separate", search=Choice(("separate", "joint")), only_if=("fusion", "late")
    )
    """cross-entropy of each head, or of their average"""
    late_space: Literal["probs", "logits"] = hyper(
        "probs", search=Choice(("probs", "logits")), only_if=("fusion", "late")
    )
    """what is averaged over modalities at inference"""
    token_width: int | None = hyper(None, low=1, symbol="D", search=Choice((64, 128, 256, 512)), only_if=_OF_TOKENS)
    """width of the tokens that the class token reads (null: of the widest feature)"""
    tokens: Literal["one", "all"] = hyper("one", only_if=_OF_TOKENS)
    """what of a modality is read: its feature, or all tokens of its encoder"""
    transformer_depth: int = hyper(2, low=1, symbol="L", search=Integer(1, 6), only_if=_OF_TRANSFORMER)
    """layers"""
    transformer_heads: int = hyper(4, low=1, symbol="H", search=Choice((1, 2, 4, 8)), only_if=_OF_TRANSFORMER)
    """attention heads of a layer"""
    feedforward_width: int | None = hyper(None, low=1, symbol="F", only_if=_OF_TRANSFORMER)
    """units between the two linear layers of a layer (null: twice the width of the tokens)"""
    transformer_dropout: float = hyper(0.0, low=0.0, high=0.9, search=Uniform(0.0, 0.5), only_if=_OF_TRANSFORMER)
    """share of weights and units dropped in training; above 0 every worker draws its own"""
    norm: Literal["post", "pre"] = hyper("post", search=Choice(("post", "pre")), only_if=_OF_TRANSFORMER)
    """layer norm after each sum, or before what is added"""
    activation: Literal["relu", "gelu"] = hyper("relu", only_if=_OF_TRANSFORMER)
    """between the two linear layers of a layer"""
    positions: Literal["fixed", "learned"] = hyper(
        "fixed", search=Choice(("fixed", "learned")), only_if=_OF_TRANSFORMER
    )
    """sines and cosines, or one vector a modality"""
    heads: int = hyper(1, low=1, symbol="H", only_if=("fusion", "attention"))
    """attention heads"""
    fusion_dropout: float = hyper(0.0, low=0.0, high=0.9, search=Uniform(0.0, 0.5), only_if=("fusion", "attention"))
    """share of attention weights, and of what is read, dropped in training; above 0 every worker draws its own"""
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(None)
    """where unimodal logits come from (null: the fusion's own way)"""
    aux_detach: bool = hyper(False)
    """auxiliary heads do not reach the encoders"""

    @property
    def mixes_channels(self) -> str | None:
        return self.channel_mode if self.fusion == "channel" else None

    @field_validator("mmtm_stages")
    @classmethod
    def _numbers_from_one(cls, value: list[int]) -> list[int]:
        if not value or min(value) < 1:
            raise ValueError(f"stages are numbered from 1, at least one is needed, got {value}")
        return value


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


def reads_tokens(hyperparameters: FusionHyperparameters) -> bool:
    """Tell whether the fusion reads all tokens of the encoders in the place of their features."""
    return hyperparameters.fusion in fusions.TOKEN_FUSIONS and hyperparameters.tokens == "all"


def check_fusion(
    hyperparameters: FusionHyperparameters,
    modalities: tuple[str, ...],
    *,
    own_loss: bool = False,
    side_by_side: bool = False,
) -> None:
    """Raise MethodError where the fusion or one of its options does not fit the modalities or the method.

    own_loss: the method trains by the fusion's own loss; else fusions that need theirs are refused. side_by_side: the
    method is a :class:`FusedMethod` that always runs all encoders together; else ``channel`` is refused."""
    kind = fusions.fusion_class(hyperparameters.fusion, hyperparameters.channel_mode)
    if kind.needs_own_loss and not own_loss:
        raise MethodError(
            f"fusion {kind.name} is trained by a loss of its own, in the place of which this method puts another; "
            "use another fusion"
        )
    if hyperparameters.fusion == "channel" and not side_by_side:
        raise MethodError(
            "fusion channel runs the encoders of all modalities together, and this method needs each on its own; "
            "use another fusion"
        )
    if not kind.supports(len(modalities)):
        raise MethodError(f"fusion {hyperparameters.fusion} is not defined for {len(modalities)} modalities")
    for option in ("film_target", "gate_target"):
        target = getattr(hyperparameters, option)
        if target is not None and target not in modalities:
            raise MethodError(f"{option}: no modality {target!r}; the dataset gives {', '.join(modalities)}")
    heads = hyperparameters.transformer_heads if hyperparameters.fusion == "late_transformer" else hyperparameters.heads
    width = hyperparameters.token_width
    if hyperparameters.fusion in fusions.TOKEN_FUSIONS and width is not None and width % heads:
        raise MethodError(f"fusion {hyperparameters.fusion}: {heads} heads do not divide a token_width of {width}")
    source = hyperparameters.unimodal_source
    if source == "native" and not kind.has_native:
        raise MethodError(
            f"unimodal_source: fusion {hyperparameters.fusion} has no native unimodal logits; use zero or aux"
        )


LINEAR_HEADS = ("concat", "sum")
"""Fusions whose fused logits are linear in the concatenated features."""


def linear_head(fusion: fusions.Fusion) -> tuple[Tensor, Tensor | None]:
    """Give weight [C, Σ d_m] and bias [C] (None: it has none) of a fusion of :data:`LINEAR_HEADS`; the heads of ``sum``
    are blocks of columns, their biases add up."""
    layers = fusion.head_layers
    biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    return torch.cat([layer.weight for layer in layers], dim=1), torch.stack(biases).sum(0) if biases else None


def check_fused_loss_alone(name: str, hyperparameters: FusionHyperparameters) -> None:
    """Raise MethodError where a method called ``name``, whose only loss is that of the fused logits, would leave heads
    untrained, or train heads of fusion ``late`` apart."""
    check_late_is_joint(name, hyperparameters)
    check_no_auxiliary_heads(name, hyperparameters)


def check_no_auxiliary_heads(name: str, hyperparameters: FusionHyperparameters) -> None:
    """Raise MethodError where a method called ``name``, which trains none, is asked for auxiliary heads."""
    if hyperparameters.unimodal_source == "aux" or hyperparameters.aux_detach:
        raise MethodError(f"{name} trains no auxiliary heads: use unimodal_source native or zero, aux_detach: false")


def check_own_heads(name: str, hyperparameters: FusionHyperparameters) -> None:
    """Raise MethodError where unimodal logits are to come from elsewhere than the heads of their own by which a method
    called ``name`` trains the encoders."""
    if hyperparameters.unimodal_source in ("native", "zero") or hyperparameters.aux_detach:
        raise MethodError(
            f"{name}: every modality has a head of its own, which trains its encoder: leave unimodal_source at null or "
            "aux, and aux_detach at false"
        )


def check_late_is_joint(name: str, hyperparameters: FusionHyperparameters) -> None:
    """Raise MethodError where fusion ``late`` trains its heads apart, and a method called ``name`` the fused logits."""
    if hyperparameters.fusion == "late" and hyperparameters.late_train != "joint":
        raise MethodError(f"{name}: fusion late needs late_train: joint; separate heads have a loss of their own")


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
