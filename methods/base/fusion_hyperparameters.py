"""The hyperparameters of the fusions, and what of them a method refuses."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from methods.base.hyperparameters import Choice, Hyperparameters, Integer, LogUniform, Uniform, hyper
from methods.base.method import MethodError
from models import fusion as fusions

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
