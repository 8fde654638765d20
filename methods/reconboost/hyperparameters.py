"""Hyperparameters of ReconBoost."""

from __future__ import annotations

from typing import Literal

from methods.base.hyperparameters import Choice, Hyperparameters, Integer, LogUniform, Uniform, hyper


class ReconBoostHyperparameters(Hyperparameters):
    weight_agree: float = hyper(5.0, symbol="w₁", above=0.0, search=LogUniform(1.0, 10.0))
    """weight of the agreement with the labels"""
    weight_recon: float = hyper(1.0, symbol="w₂", low=0.0, search=Uniform(0.0, 2.0))
    """weight of what is taken away where the others agree (λ = w₂ / w₁)"""
    alpha: float = hyper(0.5, symbol="α", low=0.0, search=LogUniform(0.01, 2.0))
    """weight of the distance to the learner of the stage before (0: as the official code, where it has no gradient)"""
    form: Literal["target", "kl"] = hyper("target")
    """agreement with the others in the true class, or with their whole prediction, which has no bound"""
    class_mean: bool = hyper(True)
    """boosting loss divided by the number of classes"""
    boost_rate: float = hyper(1.0, symbol="ρ_b", above=0.0, search=LogUniform(0.1, 2.0))
    """factor of the sum of the learners at the start; it is learned"""
    epochs_boost: int = hyper(1, symbol="T₁", low=1, search=Integer(1, 8))
    """epochs of one modality in its turn (official code: 4)"""
    epochs_rectify: int = hyper(1, symbol="T₂", low=0, search=Integer(0, 8))
    """epochs of all together after each turn (official code: 4; 0: none)"""
    shared_head: bool = hyper(True, search=Choice((False, True)))
    """one head of two layers for all modalities; false: a linear one for each"""
    boost_lr_ratio: float = hyper(1.0, above=0.0)
    """factor of the learning rate in turns"""
    rectify_lr_ratio: float = hyper(1.0, above=0.0)
    """factor of the learning rate in the epochs of all together"""
    use_pretrain: bool = hyper(False, search=Choice((False, True)))
    """train each modality alone before the budget, all are then in the ensemble from the start"""
    pretrain_epochs: float | None = hyper(None, above=0.0, epochs=True, only_if=("use_pretrain", True))
    """epochs of these (null: as many as the budget's)"""
