"""Hyperparameters of MokA."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from methods.base.hyperparameters import Choice, Hyperparameters, Integer, LogUniform, Uniform, hyper

_ADAPTED = ("adapter", ("moka", "lora"))
_OWN = ("pretrained", None)


class MokAHyperparameters(Hyperparameters):
    adapter: Literal["moka", "lora", "none"] = hyper("moka")
    """MokA, plain LoRA (one A for all modalities, no attention), or no adapters: fine-tuning of the backbone itself"""
    rank: int = hyper(4, symbol="r", low=1, search=Choice((2, 4, 8, 16, 32)), only_if=_ADAPTED)
    """rank of the adapters"""
    lora_alpha: float = hyper(16.0, symbol="α", above=0.0, search=Choice((8.0, 16.0, 32.0)), only_if=_ADAPTED)
    """what adapters add is scaled by α/r"""
    lora_dropout: float = hyper(0.05, low=0.0, high=0.9, search=Uniform(0.0, 0.3), only_if=_ADAPTED)
    """share of what adapters read that is dropped in training; above 0 every worker draws its own"""
    lambda_: float | dict[str, float] = hyper(
        1.0, symbol="λ", search=LogUniform(0.01, 2.0), only_if=("adapter", "moka")
    )
    """weight of what a token reads of the anchor's tokens, or one a modality (not named: 1; visual-text: 0.05)"""
    anchor_modality: str | None = hyper(None, only_if=("adapter", "moka"))
    """whose tokens the others attend to (null: the text, where an encoder reads one, else the first modality)"""
    scale_before_attention: bool = hyper(False, search=Choice((False, True)), only_if=("adapter", "moka"))
    """α/r before the attention, as the audio-visual-text code has it, not after B"""
    target_modules: list[str] | None = hyper(None, only_if=_ADAPTED)
    """which linear layers of the backbone's blocks are adapted, by the last part of their names (null: all)"""
    pretrained: str | None = hyper(None)
    """backbone of the transformers library, a local folder or a name of its hub (null: our own, not pretrained)"""
    width: int = hyper(64, symbol="D", low=2, search=Choice((32, 64, 128, 256)), only_if=_OWN)
    """width of our own backbone, an even number"""
    depth: int = hyper(2, symbol="L", low=1, search=Integer(1, 6), only_if=_OWN)
    """blocks of our own backbone"""
    heads: int = hyper(4, symbol="H", low=1, search=Choice((1, 2, 4, 8)), only_if=_OWN)
    """attention heads of our own backbone; they divide the width"""
    freeze_backbone: bool | None = hyper(None)
    """the backbone's weights stay as they are (null: those of a pretrained one that has adapters)"""
    freeze_encoders: bool = hyper(False)
    """the encoders stay as they are: for pretrained ones"""
    projector_epochs: float = hyper(0.0, low=0.0, epochs=True)
    """epochs, before the budget's, of projectors and head alone"""

    @property
    def frozen(self) -> bool:
        """Tell whether the backbone's weights stay as they are."""
        if self.freeze_backbone is None:
            return self.pretrained is not None and self.adapter != "none"
        return self.freeze_backbone

    @field_validator("lambda_")
    @classmethod
    def _is_a_weight(cls, value: float | dict[str, float]) -> float | dict[str, float]:
        if min(value.values(), default=0.0) < 0 if isinstance(value, dict) else value < 0:
            raise ValueError(f"weights are 0 or more, got {value}")
        return value

    @field_validator("target_modules")
    @classmethod
    def _names_some(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and not value:
            raise ValueError("at least one layer is needed; null means all")
        return value
