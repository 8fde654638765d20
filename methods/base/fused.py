"""What methods with one of the platform's fusion modules share: which fusion, with which options, and how features
come about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import field_validator
from torch import Tensor, nn

from data.base import Batch
from methods.base.hyperparameters import Choice, Hyperparameters, Integer, LogUniform, hyper
from methods.base.method import Method, MethodError
from models import fusion as fusions

FusionName = Literal["concat", "sum", "weight", "affine", "gated", "channel", "ml_lstm", "etmc", "late"]


class FusionHyperparameters(Hyperparameters):
    """Hyperparameters of the fusion module (``models.fusion`` says what each does)."""

    fusion: FusionName = hyper(
        "concat", search=Choice(("concat", "sum", "weight", "affine", "gated", "ml_lstm", "late")),
        meaning="how the modalities' features become one prediction",
    )  # fmt: skip
    film_direction: Literal["first_conditions_second", "second_conditions_first"] = hyper(
        "first_conditions_second",
        search=Choice(("first_conditions_second", "second_conditions_first")),
        meaning="which of two modalities scales and shifts the other",
        only_if=("fusion", "affine"),
    )
    film_target: str | None = hyper(
        None, meaning="three and more modalities: the one that is scaled (null: the last)", only_if=("fusion", "affine")
    )
    gate_direction: Literal["first_gates_second", "second_gates_first"] = hyper(
        "first_gates_second",
        search=Choice(("first_gates_second", "second_gates_first")),
        meaning="which of two modalities gates the other",
        only_if=("fusion", "gated"),
    )
    gate_target: str | None = hyper(
        None, meaning="three and more modalities: the one that is gated (null: the last)", only_if=("fusion", "gated")
    )
    gate_width: int | None = hyper(
        None, low=1, symbol="D", meaning="width of the gate (null: of the gated modality)", only_if=("fusion", "gated")
    )
    weight_mode: Literal["softmax", "attention"] = hyper(
        "softmax", search=Choice(("softmax", "attention")),
        meaning="weights from the features themselves, or from a small scoring network", only_if=("fusion", "weight"),
    )  # fmt: skip
    additive: bool = hyper(False, meaning="unimodal logits that add up to the fused ones", only_if=("fusion", "weight"))
    channel_mode: Literal["mmtm", "cen"] = hyper(
        "mmtm", search=Choice(("mmtm", "cen")),
        meaning="between convolutional stages: joint gates, or exchange of channels", only_if=("fusion", "channel"),
    )  # fmt: skip
    mmtm_ratio: int = hyper(
        4, low=1, symbol="r", search=Choice((2, 4, 8, 16)),
        meaning="what the joint squeeze divides the channels by", only_if=("channel_mode", "mmtm"),
    )  # fmt: skip
    mmtm_scale: float = hyper(
        1.0, above=0.0, search=Choice((1.0, 2.0)),
        meaning="factor of the gates (2: no excitation changes nothing)", only_if=("channel_mode", "mmtm"),
    )  # fmt: skip
    mmtm_stages: list[int] = hyper(
        [2, 3, 4], meaning="encoder stages, from 1, after which there are gates (beyond the last: the last)",
        only_if=("channel_mode", "mmtm"),
    )  # fmt: skip
    cen_threshold: float = hyper(
        0.02, low=0.0, symbol="θ", search=LogUniform(1e-3, 1e-1),
        meaning="channels of a smaller batch norm scale are exchanged", only_if=("channel_mode", "cen"),
    )  # fmt: skip
    cen_l1: float = hyper(
        2e-4, low=0.0, symbol="λ", search=LogUniform(1e-5, 1e-2),
        meaning="weight of the L1 penalty on batch norm scales", only_if=("channel_mode", "cen"),
    )  # fmt: skip
    lstm_layers: int = hyper(
        2, low=1, search=Integer(1, 3), meaning="layers of the LSTM", only_if=("fusion", "ml_lstm")
    )
    lstm_hidden: int = hyper(
        512, low=1, symbol="H", search=Choice((128, 256, 512)),
        meaning="width of the LSTM and of what it reads", only_if=("fusion", "ml_lstm"),
    )  # fmt: skip
    evidence: Literal["softplus", "relu", "exp"] = hyper(
        "softplus", search=Choice(("softplus", "relu", "exp")),
        meaning="what makes evidence of logits", only_if=("fusion", "etmc"),
    )  # fmt: skip
    annealing_epochs: int = hyper(
        10, low=0, symbol="T", search=Integer(1, 50, log=True),
        meaning="epochs until the divergence from the flat distribution counts fully", only_if=("fusion", "etmc"),
    )  # fmt: skip
    late_train: Literal["separate", "joint"] = hyper(
        "separate", search=Choice(("separate", "joint")),
        meaning="cross-entropy of each head, or of their average", only_if=("fusion", "late"),
    )  # fmt: skip
    late_space: Literal["probs", "logits"] = hyper(
        "probs", search=Choice(("probs", "logits")),
        meaning="what is averaged over modalities at inference", only_if=("fusion", "late"),
    )  # fmt: skip
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(
        None, meaning="where unimodal logits come from (null: the fusion's own way)"
    )
    aux_detach: bool = hyper(False, meaning="auxiliary heads do not reach the encoders")

    @field_validator("mmtm_stages")
    @classmethod
    def _numbers_from_one(cls, value: list[int]) -> list[int]:
        if not value or min(value) < 1:
            raise ValueError(f"stages are numbered from 1, at least one is needed, got {value}")
        return value


class FusedMethod(Method):
    """A method with a fusion module, which it calls by ``self.fusion.fuse(features)``: with ``fusion: channel`` the
    encoders run side by side, and their features depend on one another."""

    fusion: fusions.Fusion

    def encode(self, batch: Batch, present: Sequence[str] | None = None) -> list[Tensor]:
        """Features [B, d_m] of each modality. present: the modalities of which ``channel`` lets the others know
        (default: all)."""
        if not isinstance(self.fusion, fusions.ChannelFusion):
            return super().encode(batch)
        kept = [present is None or m in present for m in self.modalities]
        return self.fusion.encode([batch.inputs[m] for m in self.modalities], kept)

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        if not isinstance(self.fusion, fusions.ChannelFusion):
            return super().predict(batch, present)
        return self.classify(self.encode(batch, present))


def check_fusion(
    hyperparameters: FusionHyperparameters,
    modalities: tuple[str, ...],
    *,
    own_loss: bool = False,
    side_by_side: bool = False,
) -> None:
    """Raises MethodError where the fusion or one of its options does not fit the modalities or the method.

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
    source = hyperparameters.unimodal_source
    if source == "native" and not kind.has_native:
        raise MethodError(
            f"unimodal_source: fusion {hyperparameters.fusion} has no native unimodal logits; use zero or aux"
        )


def build_fusion(
    hyperparameters: FusionHyperparameters,
    modalities: Sequence[str],
    dims: list[int],
    num_classes: int,
    aux_heads: bool = False,
    encoders: Sequence[nn.Module] = (),
) -> fusions.Fusion:
    """The fusion module that the hyperparameters ask for. aux_heads: with one linear head a modality beside it, on
    the encoder's feature (always built where ``unimodal_source`` is aux). encoders: the method's, which ``channel``
    needs and uses without owning them. Raises MethodError where they have no stages that it could mix."""
    kind = fusions.fusion_class(hyperparameters.fusion, hyperparameters.channel_mode)
    options = hyperparameters.model_dump(include=set(kind.options))
    for option in ("film_target", "gate_target"):
        if options.get(option) is not None:
            options[option] = list(modalities).index(options[option])
    channel = hyperparameters.fusion == "channel"
    if channel:
        options |= {"channel_mode": hyperparameters.channel_mode, "owns_encoders": False}
        for modality, encoder in zip(modalities, encoders, strict=True):
            if not hasattr(encoder, "stages"):
                raise MethodError(
                    f"fusion channel mixes the maps of convolutional encoders, which {modality} does not have; give it "
                    "encoder cnn or resnet18, or use another fusion"
                )
    return fusions.build(
        hyperparameters.fusion,
        encoders if channel else dims,
        num_classes,
        aux_heads=aux_heads or hyperparameters.unimodal_source == "aux",
        aux_detach=hyperparameters.aux_detach,
        **options,
    )
