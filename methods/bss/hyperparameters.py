"""Hyperparameters of BSS."""

from __future__ import annotations

from typing import Literal

from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform, hyper
from methods.bss.equations import PACES


class BSSHyperparameters(FusionHyperparameters):
    scheduler: Literal["heuristic", "learning"] = hyper("learning", search=Choice(("heuristic", "learning")))
    """heuristic: a growing part of the ranking (BSS-H); learning: draws by the remembered score (BSS-L)"""
    lambda0: float = hyper(
        0.1, symbol="λ₀", above=0.0, high=1.0, search=Uniform(0.05, 0.5), only_if=("scheduler", "heuristic")
    )
    """share of the training set at the start"""
    t_grow: float = hyper(
        1 / 3, symbol="T_grow", low=0.0, search=Uniform(0.1, 0.6), only_if=("scheduler", "heuristic"), epochs=True
    )
    """epochs until the whole training set is shown"""
    pace: Literal["sqrt", "linear", "root", "geometric", "exponential", "step"] = hyper(
        "sqrt", search=Choice(PACES), only_if=("scheduler", "heuristic")
    )
    """how the share grows"""
    power: float = hyper(2.0, symbol="p", above=0.0, search=Uniform(1.0, 5.0), only_if=("pace", "root"))
    """degree of the root"""
    steps: int = hyper(5, symbol="J", low=1, search=Integer(2, 10), only_if=("pace", "step"))
    """number of steps"""
    rate: float = hyper(
        10.0, symbol="c", above=0.0, high=100.0, search=Uniform(2.0, 12.0), only_if=("pace", "exponential")
    )
    """rate of the exponential"""
    rescore_every: int | None = hyper(None, symbol="E", low=0, search=Integer(1, 10))
    """epochs between two scoring passes; 0: one pass in all; null: 1 for learning, 0 for heuristic"""
    beta: float = hyper(0.6, symbol="β", low=0.0, high=1.0, search=Uniform(0.1, 1.0), only_if=("scheduler", "learning"))
    """weight of the new score in the remembered one"""
    alpha: float = hyper(1.0, symbol="α", low=0.0, search=LogUniform(0.1, 1.0))
    """weight of the fused head's loss"""
    weighting: Literal["additive", "convex"] = hyper("additive", search=Choice(("additive", "convex")))
    """α multi + unimodal losses, or α multi + (1 - α) unimodal losses"""
    correlation: Literal["presim", "featsim", "none"] = hyper("presim", search=Choice(("presim", "featsim", "none")))
    """agreement in the score: cosine of predictions, cosine of features, or none"""
    information: Literal["loss", "gradmag", "none"] = hyper("loss", search=Choice(("loss", "gradmag", "none")))
    """difficulty in the score: the sample's loss, the size of its gradient (one sample at a time: slow), or none"""
    order: Literal["curriculum", "anti", "random", "shuffle"] = hyper("curriculum")
    """balanced samples first, last, by fixed noise instead of scores, or plain shuffling"""
    prob: Literal["softmax", "linear"] = hyper(
        "softmax", search=Choice(("softmax", "linear")), only_if=("scheduler", "learning")
    )
    """probability of a draw by score"""
    replacement: bool = hyper(False, search=Choice((False, True)), only_if=("scheduler", "learning"))
    """draw with replacement"""
    warmup_epochs: float = hyper(0.0, low=0.0, search=Integer(0, 10), epochs=True)
    """shuffled epochs before the first scoring pass"""
    predict_heads: Literal["all", "uni"] = hyper("all")
    """inference: sum of the logits of all heads, or of the unimodal ones"""

    # Only to score as the official code does.
    score_mode: Literal["eval", "train"] = hyper("eval")
    """scoring in evaluation mode on samples as they are, or as the official code does: in training mode on augmented
    samples, which moves the statistics of batch norm"""
