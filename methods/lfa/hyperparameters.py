"""Hyperparameters of LFA."""

from __future__ import annotations

from typing import Literal

from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform, hyper


class LFAHyperparameters(FusionHyperparameters):
    strategy: Literal["learned", "heuristic", "constant", "stepwise", "cubic", "exp_decay", "fitted"] = hyper(
        "learned", search=Choice(("heuristic", "learned", "constant", "stepwise"))
    )
    """course of the weight of the alignment loss: learned (LFA-LB), 1 - exp(-1/t) (LFA-H), or another curve"""
    alpha: float | None = hyper(None, symbol="α", low=0.0, high=1.0, search=Uniform(0.05, 0.95))
    """weight of the alignment loss: of constant; first of stepwise (then 1 - α) and of learned; rate of exp_decay;
    null: 0.5, 0.95, 1, 0.3; the other strategies do not use it"""
    tau: float = hyper(0.07, symbol="τ", above=0.0, search=LogUniform(0.02, 1.0), only_if=("alignment", "contrastive"))
    """temperature of the contrastive loss"""
    lr_alpha: float | None = hyper(
        None, symbol="η_α", low=0.0, search=LogUniform(1e-3, 1.0), only_if=("strategy", "learned")
    )
    """learning rate of the weight; null: 1.2 / (epochs of the budget x mean size of the hypergradients so far), by
    which the weight falls to about 0.1 in any budget"""
    lr_alpha_halve_every: float = hyper(
        0.0, low=0.0, search=Choice((0, 10, 20, 50)), only_if=("strategy", "learned"), epochs=True
    )
    """epochs after each of which that learning rate is halved; 0: never"""
    alpha_min: float = hyper(0.0, low=0.0, high=1.0, only_if=("strategy", "learned"))
    """smallest learned weight"""
    alpha_max: float = hyper(1.0, low=0.0, high=1.0, only_if=("strategy", "learned"))
    """largest learned weight"""
    inverse: Literal["neumann", "identity", "cg"] = hyper(
        "neumann", search=Choice(("neumann", "identity")), only_if=("strategy", "learned")
    )
    """inverse Hessian of the hypergradient: truncated Neumann series, none, or conjugate gradients"""
    neumann_steps: int = hyper(3, symbol="Q", low=0, search=Integer(0, 10), only_if=("strategy", "learned"))
    """Hessian-vector products a hypergradient (neumann and cg)"""
    neumann_eta: float = hyper(
        0.01, symbol="η", above=0.0, search=LogUniform(1e-4, 0.05), only_if=("inverse", "neumann")
    )
    """step of the Neumann series; it diverges from 2 / (largest curvature) on"""
    hyper_batch_size: int = hyper(16, low=1, search=Integer(8, 64, log=True), only_if=("strategy", "learned"))
    """samples a hypergradient"""
    proj_dim: int | None = hyper(None, low=1, only_if=("alignment", "contrastive"))
    """width to which features are mapped for the contrastive loss; null: 256 if widths differ, else none"""
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(None)
    """where unimodal logits come from (null: own heads of sum and late, else the fused head with the other modalities
    zeroed)"""

    # Only to train as the official code does.
    alignment: Literal["contrastive", "js"] = hyper("contrastive")
    """what is aligned: features (InfoNCE), or predictions of fusion late (official code)"""
    hyper_batch: Literal["train", "holdout"] = hyper("train", only_if=("strategy", "learned"))
    """outer loss on the training batch of the inner one, or on samples kept out of training"""
    loss_scale: float = hyper(1.0, above=0.0)
    """factor of the whole loss (official code: 2)"""
