"""What every method is made of: the :class:`Method` with its four stages, the :class:`Context` that a training loop
gives it, the declaration of hyperparameters, and what methods with one of the platform's fusion modules share. Encoders
and batches come in; logits, losses and optimizer steps go out. Nothing here knows a method by name, reads a file or
trains; names with an underscore are not for others."""

from __future__ import annotations

from methods.base.best_epoch import BestEpoch
from methods.base.context import Context
from methods.base.fused import FusedMethod, build_fusion
from methods.base.fusion_hyperparameters import FusionHyperparameters, FusionName, check_fusion
from methods.base.hyperparameters import (
    Choice,
    Declared,
    Hyperparameters,
    Integer,
    LogUniform,
    SearchRange,
    Uniform,
    declared,
    epoch_window,
    hyper,
    in_epochs,
)
from methods.base.method import MULTI, DivergedError, Method, MethodError, Outputs, evaluating
from methods.base.modulation import Scope, modulate_encoders, modulate_gradient, parameters_in_scope
from methods.base.phase import Phase
from methods.base.scoring import features_of, mean_loss
from methods.base.validation import Validation

__all__ = [
    "MULTI",
    "BestEpoch",
    "Choice",
    "Context",
    "Declared",
    "DivergedError",
    "FusedMethod",
    "FusionHyperparameters",
    "FusionName",
    "Hyperparameters",
    "Integer",
    "LogUniform",
    "Method",
    "MethodError",
    "Outputs",
    "Phase",
    "Scope",
    "SearchRange",
    "Uniform",
    "Validation",
    "build_fusion",
    "check_fusion",
    "declared",
    "epoch_window",
    "evaluating",
    "features_of",
    "hyper",
    "in_epochs",
    "mean_loss",
    "modulate_encoders",
    "modulate_gradient",
    "parameters_in_scope",
]
