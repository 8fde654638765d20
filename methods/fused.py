"""What methods with one of the platform's fusion modules share: which fusion, with which options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from methods.base import MethodError
from methods.hyperparameters import Choice, Hyperparameters, hyper
from models import fusion as fusions

FusionName = Literal["concat", "sum", "weight", "affine", "gated", "late"]


class FusionHyperparameters(Hyperparameters):
    """Hyperparameters of the fusion module (``models.fusion`` says what each does)."""

    fusion: FusionName = hyper(
        "concat", search=Choice(tuple(fusions.FUSIONS)), meaning="how the modalities' features become one prediction"
    )
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


def check_fusion(hyperparameters: FusionHyperparameters, modalities: tuple[str, ...]) -> None:
    """Raises MethodError where the fusion or one of its options does not fit the modalities."""
    kind = fusions.FUSIONS[hyperparameters.fusion]
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
) -> fusions.Fusion:
    """The fusion module that the hyperparameters ask for. aux_heads: with one linear head a modality beside it, on
    the encoder's feature (always built where ``unimodal_source`` is aux)."""
    options = hyperparameters.model_dump(include=set(fusions.FUSIONS[hyperparameters.fusion].options))
    for option in ("film_target", "gate_target"):
        if options.get(option) is not None:
            options[option] = list(modalities).index(options[option])
    return fusions.build(
        hyperparameters.fusion,
        dims,
        num_classes,
        aux_heads=aux_heads or hyperparameters.unimodal_source == "aux",
        aux_detach=hyperparameters.aux_detach,
        **options,
    )
