"""Hyperparameters of AMSS."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.base.hyperparameters import Choice, LogUniform, Uniform, hyper


class AMSSHyperparameters(FusionHyperparameters):
    tau: float = hyper(0.25, symbol="τ", above=0.0, search=LogUniform(0.05, 4.0), only_if=("fixed_ratios", None))
    """temperature of the ratios: the smaller, the less of the stronger modality is updated"""
    mi_momentum: float = hyper(
        0.0, symbol="λ", low=0.0, high=1.0, search=Uniform(0.0, 0.99), only_if=("fixed_ratios", None)
    )
    """weight of the old significance in its moving average over steps (official code: 0)"""
    fixed_ratios: list[Annotated[float, Field(gt=0, le=1)]] | None = hyper(None, symbol="ρ")
    """share of units to update of each modality, in (0, 1], instead of the significance's (the paper's grid: 0.2 to 1,
    with sampling: uniform and plus: false)"""
    plus: bool = hyper(True, search=Choice((False, True)), only_if=("sampling", "adaptive"))
    """AMSS+: kept gradients are weighted against the bias of masking; false: AMSS"""
    linear_unit: Literal["element", "row"] = hyper("element", only_if=("mask_backbone", True))
    """mask unit of linear layers in encoders that are no Transformers: single weights, or rows"""
    mask_backbone: bool = hyper(True, search=Choice((False, True)))
    """mask the encoders"""
    mask_classifier: bool = hyper(True, search=Choice((False, True)))
    """mask each modality's part of the classifier (fusion concat, sum and late)"""
    sampling: Literal["adaptive", "uniform", "topk"] = hyper("adaptive", search=Choice(("adaptive", "uniform", "topk")))
    """units drawn by their squared gradients, drawn alike, or those with the largest ones"""
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(None)
    """where unimodal logits come from (null: own heads of sum, late and channel, else the fused head with the other
    modalities zeroed; official code of concat: native)"""

    # From the official code, beside the paper.
    weighting: Literal["inclusion", "official"] = hyper(
        "inclusion", search=Choice(("inclusion", "official")), only_if=("plus", True)
    )
    """one over the probability of being drawn, which is unbiased, or the official code's damped weight"""
    weight_offset: float = hyper(
        0.0, symbol="c₀", low=0.0, high=1.0, search=Uniform(0.0, 0.5), only_if=("weighting", "official")
    )
    """what damps the weight further (official code: 0, image and text 0.2)"""
    mi_shift: float = hyper(0.5, symbol="s", low=0.0, search=Uniform(0.0, 3.0), only_if=("fixed_ratios", None))
    """added to the information, so that early, negative estimates count (paper: 0)"""
    ratio_low: float = hyper(0.1, low=0.0, high=1.0, only_if=("fixed_ratios", None))
    """smallest ratio"""
    ratio_high: float = hyper(0.9, low=0.0, high=1.0, only_if=("fixed_ratios", None))
    """largest ratio"""
    ratio_bias: float = hyper(0.0, low=-1.0, high=1.0, search=Uniform(-0.2, 0.2), only_if=("fixed_ratios", None))
    """added to every ratio before it is clipped"""
    mask_exclude: list[str] = hyper([], only_if=("mask_backbone", True))
    """name patterns of encoder weights that are never masked, as in *.downsample.* (the official code leaves out stem
    and shortcut convolutions)"""
