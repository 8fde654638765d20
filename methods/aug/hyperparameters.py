"""Hyperparameters of AUG."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from methods.base.hyperparameters import Hyperparameters, Integer, LogUniform, Uniform, hyper, in_epochs


class AUGHyperparameters(Hyperparameters):
    lam: float = hyper(
        0.5, symbol="λ", low=0.0, high=1.0, search=Uniform(0.0, 1.0), only_if=("use_eps", True),
        meaning="share of the earlier classifiers' confidence that is taken off the newest one's labels",
    )  # fmt: skip
    assignment: Literal["adaptive", "fixed"] = hyper(
        "adaptive", meaning="classifiers are added by score during training, or given to one modality from the start"
    )
    sigma: float = hyper(
        1.0, symbol="σ", low=1.0, search=Uniform(1.0, 1.75), only_if=("assignment", "adaptive"),
        meaning="factor of the score that is compared with the others' (of two modalities the second one's)",
    )  # fmt: skip
    dead_zone: float = hyper(
        0.01, symbol="τ_d", low=0.0, search=LogUniform(1e-3, 0.1), only_if=("assignment", "adaptive"),
        meaning="difference of scores up to which nothing is added",
    )  # fmt: skip
    assign_every: float = hyper(
        10, symbol="t_N", above=0.0, search=Integer(1, 20), only_if=("assignment", "adaptive"), epochs=True,
        meaning="epochs from one comparison of the scores to the next",
    )  # fmt: skip
    assign_first_epoch: bool = hyper(
        False, only_if=("assignment", "adaptive"), meaning="compare after the first epoch too (official code)"
    )
    criterion: Literal["difference", "ratio"] = hyper(
        "difference", only_if=("assignment", "adaptive"), meaning="how scores are compared"
    )
    score: Literal["confidence", "entropy", "loss"] = hyper(
        "confidence", only_if=("assignment", "adaptive"),
        meaning="strength of a modality: mean probability of the true class, or one over the mean entropy or "
        "cross-entropy of its predictions (criterion: ratio)",
    )  # fmt: skip
    max_heads: int | None = hyper(
        None, low=1, only_if=("assignment", "adaptive"), meaning="most classifiers of a modality; null: no limit"
    )
    n_fixed: int = hyper(
        10, symbol="n", low=1, only_if=("assignment", "fixed"), meaning="classifiers of fixed_modality"
    )
    fixed_modality: str | None = hyper(
        None, only_if=("assignment", "fixed"), meaning="the modality with n_fixed classifiers; must be given"
    )
    alpha: float | list[float] | None = hyper(
        None, search=Uniform(0.2, 0.8),
        meaning="inference: weight of the first of two modalities, or of each; null: all alike",
    )  # fmt: skip
    hidden_dim: int = hyper(256, low=1, meaning="width between a classifier's own layer and the shared head")
    use_eps: bool = hyper(True, symbol="ε", meaning="the newest classifier learns the residual labels")
    use_eps_o: bool = hyper(True, symbol="ε_o", meaning="all classifiers together learn the labels")
    use_eps_p: bool = hyper(True, symbol="ε_p", meaning="all classifiers but the newest learn the labels")
    update: Literal["joint", "alternate"] = hyper(
        "joint", meaning="one step on the modalities' losses together, or one after the other (official code)"
    )

    @field_validator("assign_every")
    @classmethod
    def _whole_or_share(cls, value: float) -> float:
        in_epochs(value, 1)
        return value

    @field_validator("alpha")
    @classmethod
    def _weights(cls, value: float | list[float] | None) -> float | list[float] | None:
        if isinstance(value, float | int) and not 0 <= value <= 1:
            raise ValueError(f"the weight of the first of two modalities lies in [0, 1], got {value}")
        if isinstance(value, list) and (min(value, default=0) < 0 or sum(value) <= 0):
            raise ValueError(f"weights are not negative, and one of them is positive; got {value}")
        return value
