"""Hyperparameters of UMT."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.base.hyperparameters import Choice, LogUniform, hyper


class UMTHyperparameters(FusionHyperparameters):
    variant: Literal["umt", "ume", "auto"] = hyper("umt", search=Choice(("umt", "ume", "auto")))
    """joint training with teachers, the ensemble of the teachers, or the better of both by the paper's test"""
    lam: float = hyper(10.0, symbol="λ", low=0.0, search=LogUniform(0.1, 100.0))
    """weight of the distance to the teachers' features (0: joint training, without teachers)"""
    teacher_epochs: float | None = hyper(None, above=0.0, epochs=True)
    """epochs of each teacher, beside the budget (null: as many as the budget's)"""
    init_from_teacher: bool = hyper(False, search=Choice((False, True)))
    """encoders start from the teachers' weights"""
    ume_weights: list[Annotated[float, Field(ge=0)]] | None = hyper(None, symbol="w")
    """weights of the modalities in the ensemble, in the dataset's order (null: equal)"""

    @property
    def needs_teachers(self) -> bool:
        """Tell whether teachers are trained: without them, λ = 0 is joint training."""
        return self.variant != "umt" or self.lam > 0 or self.init_from_teacher
