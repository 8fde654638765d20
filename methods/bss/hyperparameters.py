"""Hyperparameters of BSS."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from methods.base.fused import FusionHyperparameters
from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform, hyper, in_epochs
from methods.bss.equations import (
    PACES,
)


class BSSHyperparameters(FusionHyperparameters):
    scheduler: Literal["heuristic", "learning"] = hyper(
        "learning", search=Choice(("heuristic", "learning")),
        meaning="heuristic: a growing part of the ranking (BSS-H); learning: draws by the remembered score (BSS-L)",
    )  # fmt: skip
    lambda0: float = hyper(
        0.1, symbol="λ₀", above=0.0, high=1.0, search=Uniform(0.05, 0.5), only_if=("scheduler", "heuristic"),
        meaning="share of the training set at the start",
    )  # fmt: skip
    t_grow: float = hyper(
        1 / 3, symbol="T_grow", low=0.0, search=Uniform(0.1, 0.6), only_if=("scheduler", "heuristic"), epochs=True,
        meaning="epochs until the whole training set is shown",
    )  # fmt: skip
    pace: Literal["sqrt", "linear", "root", "geometric", "exponential", "step"] = hyper(
        "sqrt", search=Choice(PACES),
        only_if=("scheduler", "heuristic"), meaning="how the share grows",
    )  # fmt: skip
    power: float = hyper(
        2.0, symbol="p", above=0.0, search=Uniform(1.0, 5.0), only_if=("pace", "root"), meaning="degree of the root"
    )
    steps: int = hyper(5, symbol="J", low=1, search=Integer(2, 10), only_if=("pace", "step"), meaning="number of steps")
    rate: float = hyper(
        10.0, symbol="c", above=0.0, high=100.0, search=Uniform(2.0, 12.0), only_if=("pace", "exponential"),
        meaning="rate of the exponential",
    )  # fmt: skip
    rescore_every: int | None = hyper(
        None, symbol="E", low=0, search=Integer(1, 10),
        meaning="epochs between two scoring passes; 0: one pass in all; null: 1 for learning, 0 for heuristic",
    )  # fmt: skip
    beta: float = hyper(
        0.6, symbol="β", low=0.0, high=1.0, search=Uniform(0.1, 1.0), only_if=("scheduler", "learning"),
        meaning="weight of the new score in the remembered one",
    )  # fmt: skip
    alpha: float = hyper(
        1.0, symbol="α", low=0.0, search=LogUniform(0.1, 1.0), meaning="weight of the fused head's loss"
    )
    weighting: Literal["additive", "convex"] = hyper(
        "additive", search=Choice(("additive", "convex")),
        meaning="α multi + unimodal losses, or α multi + (1 - α) unimodal losses",
    )  # fmt: skip
    correlation: Literal["presim", "featsim", "none"] = hyper(
        "presim", search=Choice(("presim", "featsim", "none")),
        meaning="agreement in the score: cosine of predictions, cosine of features, or none",
    )  # fmt: skip
    information: Literal["loss", "gradmag", "none"] = hyper(
        "loss", search=Choice(("loss", "gradmag", "none")),
        meaning="difficulty in the score: the sample's loss, the size of its gradient (one sample at a time: slow), or "
        "none",
    )  # fmt: skip
    score_mode: Literal["eval", "train"] = hyper(
        "eval", meaning="scoring in evaluation mode on samples as they are, or as the official code does: in training "
        "mode on augmented samples, which moves the statistics of batch norm",
    )  # fmt: skip
    order: Literal["curriculum", "anti", "random", "shuffle"] = hyper(
        "curriculum", meaning="balanced samples first, last, by fixed noise instead of scores, or plain shuffling"
    )
    prob: Literal["softmax", "linear"] = hyper(
        "softmax", search=Choice(("softmax", "linear")), only_if=("scheduler", "learning"),
        meaning="probability of a draw by score",
    )  # fmt: skip
    replacement: bool = hyper(
        False, search=Choice((False, True)), only_if=("scheduler", "learning"), meaning="draw with replacement"
    )
    warmup_epochs: float = hyper(
        0.0, low=0.0, search=Integer(0, 10), epochs=True, meaning="shuffled epochs before the first scoring pass"
    )
    predict_heads: Literal["all", "uni"] = hyper(
        "all", meaning="inference: sum of the logits of all heads, or of the unimodal ones"
    )

    @field_validator("t_grow", "warmup_epochs")
    @classmethod
    def _whole_or_share(cls, value: float) -> float:
        in_epochs(value, 1)
        return value
