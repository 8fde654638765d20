"""Hyperparameters of IGM."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ValidationInfo, field_validator

from methods.base import MethodError
from methods.base.hyperparameters import Choice, Hyperparameters, Integer, LogUniform, Uniform, hyper


class IGMHyperparameters(Hyperparameters):
    rho: float | dict[str, float] = hyper(1e-10, symbol="ρ", search=LogUniform(1e-15, 0.5), only_if=("use_sam", True))
    """radius of the perturbation, or one a modality (below 1e-5 hardly any float32 weight moves)"""
    tau: float = hyper(0.4, symbol="τ", low=0.0, search=LogUniform(1e-3, 100.0))
    """sharpest directions shrink by e^-τ (0: none)"""
    use_sam: bool = hyper(True, search=Choice((True, False)))
    """sharpness-aware steps"""
    sam_pass: Literal["auto", "always"] = hyper("auto", only_if=("use_sam", True))
    """their pass at the perturbed weights; auto: left out where the weights at the start cannot resolve rho"""
    gm_scope: float | Literal["head"] = hyper("head", search=Choice((1.0, 0.5, 0.3, "head", 0.0)))
    """share of a branch's parameters, from the output on, whose gradient is modified; or its head"""
    gm_from: dict[str, bool] = hyper({})
    """modality: false, where its matrices do not modify the next modality"""
    out_iters: int = hyper(2, symbol="Out_Iters", low=1, search=Integer(1, 6))
    """cycles through the modalities"""
    inner_epochs: list[float] | None = hyper(None, symbol="Inner_Iters", epochs=True)
    """epochs of each modality's phase, in training order; null: the budget over out_iters, for each"""
    modality_order: list[str] | None = hyper(None)
    """training order (null: the dataset's)"""
    cov_batches: int | None = hyper(None, symbol="n_B", low=1)
    """batches of a covariance pass (null: all)"""
    cov_mode: Literal["batch_mean", "samples"] = hyper("batch_mean")
    """whose layer inputs the covariance sums"""
    cov_batch_size: int = hyper(12, low=1)
    """samples of a joint batch of the covariance pass"""
    cov_accumulate: bool = hyper(False)
    """keep adding to the covariance of earlier passes"""

    # Only to train as the official code does.
    late_fusion: Literal["mla", "mean"] = hyper("mla", symbol="f")
    """logits by entropy, or mean of probabilities"""
    flat_ratio: float = hyper(1.0, low=0.0, high=1.0, search=Uniform(0.3, 1.0), only_if=("use_sam", True))
    """share of the gradient at the perturbed weights; the rest is the plain gradient"""
    sam_per_tensor: bool = hyper(False, only_if=("use_sam", True))
    """perturbation of norm ρ in each tensor"""
    mixup_alpha: float = hyper(0.0, low=0.0)
    """samples and labels of a batch mixed in pairs by Beta(mixup_alpha, mixup_alpha); 0: none"""

    @field_validator("rho", "gm_scope", "inner_epochs")
    @classmethod
    def _within_bounds(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name == "rho" and min(value.values() if isinstance(value, dict) else [value], default=0) < 0:
            raise ValueError(f"a radius is not negative, got {value}")
        if info.field_name == "gm_scope" and value != "head" and not 0 <= value <= 1:
            raise ValueError(f"a share of the parameters lies in [0, 1], got {value}; or write head")
        if info.field_name == "inner_epochs" and 0 in (value or []):
            raise ValueError(f"a phase takes at least one epoch, got {value}")
        return value

    def radius(self, modality: str) -> float:
        """Tell the radius ρ of a modality's perturbations."""
        return self.rho[modality] if isinstance(self.rho, dict) else self.rho


def check_names(hyperparameters: IGMHyperparameters, modalities: tuple[str, ...]) -> None:
    """Raise MethodError where a hyperparameter names other modalities than the dataset gives, or not each of them."""
    hp, known = hyperparameters, ", ".join(modalities)
    radii = hp.rho if isinstance(hp.rho, dict) else dict.fromkeys(modalities, hp.rho)
    order = modalities if hp.modality_order is None else hp.modality_order
    for option, named in (("rho", radii), ("gm_from", hp.gm_from), ("modality_order", order)):
        if unknown := [m for m in named if m not in modalities]:
            raise MethodError(f"igm: {option}: no modality {unknown[0]!r}; the dataset gives {known}")
    if sorted(order) != sorted(modalities):
        raise MethodError(f"igm: modality_order must name each of {known} once, got {', '.join(order)}")
    if len(radii) != len(modalities):
        raise MethodError(f"igm: rho must name each of {known}, or be one number; got {', '.join(radii)}")
    if hp.inner_epochs is not None and len(hp.inner_epochs) != len(modalities):
        raise MethodError(f"igm: inner_epochs needs one entry for each of {known}, got {hp.inner_epochs}")
