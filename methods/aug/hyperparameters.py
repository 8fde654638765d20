"""Hyperparameters of AUG."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from methods.base.hyperparameters import Hyperparameters, Integer, LogUniform, Uniform, hyper


class AUGHyperparameters(Hyperparameters):
    lam: float = hyper(0.5, symbol="λ", low=0.0, high=1.0, search=Uniform(0.0, 1.0), only_if=("use_eps", True))
    """share of the earlier classifiers' confidence that is taken off the newest one's labels"""
    assignment: Literal["adaptive", "fixed"] = hyper("adaptive")
    """classifiers are added by score during training, or given to one modality from the start"""
    sigma: float = hyper(1.0, symbol="σ", low=1.0, search=Uniform(1.0, 1.75), only_if=("assignment", "adaptive"))
    """factor of the score that is compared with the others' (of two modalities the second one's)"""
    dead_zone: float = hyper(
        0.01, symbol="τ_d", low=0.0, search=LogUniform(1e-3, 0.1), only_if=("assignment", "adaptive")
    )
    """difference of scores up to which nothing is added"""
    assign_every: float = hyper(
        10, symbol="t_N", above=0.0, search=Integer(1, 20), only_if=("assignment", "adaptive"), epochs=True
    )
    """epochs from one comparison of the scores to the next"""
    criterion: Literal["difference", "ratio"] = hyper("difference", only_if=("assignment", "adaptive"))
    """how scores are compared"""
    score: Literal["confidence", "entropy", "loss"] = hyper("confidence", only_if=("assignment", "adaptive"))
    """strength of a modality: mean probability of the true class, or one over the mean entropy or cross-entropy of its
    predictions (criterion: ratio)"""
    max_heads: int | None = hyper(None, low=1, only_if=("assignment", "adaptive"))
    """most classifiers of a modality; null: no limit"""
    n_fixed: int = hyper(10, symbol="n", low=1, only_if=("assignment", "fixed"))
    """classifiers of fixed_modality"""
    fixed_modality: str | None = hyper(None, only_if=("assignment", "fixed"))
    """the modality with n_fixed classifiers; must be given"""
    alpha: float | list[float] | None = hyper(None, search=Uniform(0.2, 0.8))
    """inference: weight of the first of two modalities, or of each; null: all alike"""
    hidden_dim: int = hyper(256, low=1)
    """width between a classifier's own layer and the shared head"""
    use_eps: bool = hyper(True, symbol="ε")
    """the newest classifier learns the residual labels"""
    use_eps_o: bool = hyper(True, symbol="ε_o")
    """all classifiers together learn the labels"""
    use_eps_p: bool = hyper(True, symbol="ε_p")
    """all classifiers but the newest learn the labels"""

    # Only to train as the official code does.
    assign_first_epoch: bool = hyper(False, only_if=("assignment", "adaptive"))
    """compare after the first epoch too (official code)"""
    update: Literal["joint", "alternate"] = hyper("joint")
    """one step on the modalities' losses together, or one after the other (official code)"""

    @field_validator("alpha")
    @classmethod
    def _weights(cls, value: float | list[float] | None) -> float | list[float] | None:
        if isinstance(value, float | int) and not 0 <= value <= 1:
            raise ValueError(f"the weight of the first of two modalities lies in [0, 1], got {value}")
        if isinstance(value, list) and (min(value, default=0) < 0 or sum(value) <= 0):
            raise ValueError(f"weights are not negative, and one of them is positive; got {value}")
        return value
