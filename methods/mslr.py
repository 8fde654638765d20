"""MSLR: a learning rate of its own for each modality.

Yao, Mihalcea, "Modality-specific Learning Rates for Effective Multimodal Additive Late-fusion", Findings of ACL 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from methods.base import MULTI, Context, MethodError, Phase, Validation
from methods.base.branches import branch_groups, check_branches
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, FusionName
from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform, hyper, in_epochs
from models import fusion as fusions
from models import unknown

# Equations -----------------------------------------------------------------------------------------------------


def smooth_learning_rates(rates: Sequence[float], strength: float = 0.5, space: str = "log") -> list[float]:
    """Pull rates towards their mean: by ``strength`` in [0, 1], of which 0 keeps them and 1 makes them one.

    space: log, where the mean is geometric, or linear. Raises ValueError for another space, and in space log for a rate
    that is not positive."""
    if space not in ("log", "linear"):
        raise unknown("space", space, ("log", "linear"))
    if space == "log":
        if min(rates) <= 0:
            raise ValueError(f"rates must be positive to be smoothed in space log, got {list(rates)}")
        return [math.exp(rate) for rate in smooth_learning_rates([math.log(r) for r in rates], strength, "linear")]
    mean = sum(rates) / len(rates)
    return [(1 - strength) * rate + strength * mean for rate in rates]


def performance_ratio(history: Sequence[float], current: float, window: int = 5) -> float:
    """Divide a performance by the mean of the last ``window`` before it.

    history: the past values, oldest first. 1 where there are fewer than ``window``, or their mean is 0."""
    recent = history[-window:]
    mean = sum(recent) / window
    return current / mean if len(recent) == window and mean != 0 else 1.0


def dynamic_learning_rates(
    initial: Sequence[float], histories: Sequence[Sequence[float]], current: Sequence[float], window: int = 5
) -> list[float]:
    """Multiply each modality's initial rate by its :func:`performance_ratio`: a_t = a_0 r_t, nothing adds up."""
    return [
        rate * performance_ratio(history, value, window)
        for rate, history, value in zip(initial, histories, current, strict=True)
    ]


# Method --------------------------------------------------------------------------------------------------------


class MSLRHyperparameters(FusionHyperparameters):
    fusion: FusionName = hyper("sum", search=Choice(fusions.NAMES))
    """how the modalities' features become one prediction (paper: the sum of one head a modality)"""
    strategy: Literal["keep", "smooth", "dynamic"] = hyper("dynamic", search=Choice(("keep", "smooth", "dynamic")))
    """initial rates as they are, pulled towards their mean, or times the validation performance over its past mean"""
    lr_scale: dict[str, Annotated[float, Field(ge=0)]] = hyper({}, symbol="a₀/lr", search=LogUniform(0.01, 100.0))
    """initial learning rate of each modality as a multiple of the run's (paper: the best rate of the modality trained
    alone; 0: the modality is not trained; not named: 1)"""
    strength: float = hyper(0.5, low=0.0, high=1.0, search=Uniform(0.0, 1.0), only_if=("strategy", "smooth"))
    """how far initial rates are pulled towards their mean"""
    space: Literal["log", "linear"] = hyper("log", only_if=("strategy", "smooth"))
    """geometric or arithmetic mean (the paper has no formula: log with strength 0.5 fits two of its three examples)"""
    window: float = hyper(5, above=0.0, search=Integer(5, 10), only_if=("strategy", "dynamic"), epochs=True)
    """past validations whose mean a performance is compared with"""
    performance: Literal["accuracy", "map", "macro_f1"] = hyper("accuracy", only_if=("strategy", "dynamic"))
    """metric of a modality's own prediction on validation data"""


class MSLR(FusedMethod[MSLRHyperparameters]):
    """Joint training in which the branch of each modality (its encoder, and what else it alone goes through) has a
    learning rate of its own: the one that is best for the modality alone (keep), this rate pulled towards the mean of
    all (smooth), or this rate times a ratio that follows how the modality's own prediction fares on validation data
    (dynamic). What belongs to no modality keeps the run's rate. By default all begin with the run's rate.

    Source: Yao, Mihalcea, Findings of ACL 2022: keep and dynamic as written there. Smooth has no formula; ours is
    fitted to the three examples that the paper prints.

    Departures from the official code: no official code was found. The first ``window`` epochs have the ratio 1, as in a
    baseline of AGM's authors; they multiply gradients, which does nothing under Adam, where here it is the rate. A
    shared classifier (fusion concat) keeps the run's rate as a whole.

    Cost: one forward and one backward a step, as joint training.

    State: the last performances of each modality."""

    name = "mslr"
    title = "Modality-specific learning rates"
    paper = "Yao, Mihalcea: Modality-specific Learning Rates, Findings of ACL 2022"
    stages = ("optimization",)
    capturable = True
    replaces_fusion_loss = False
    helpers = ("_extra_state",)

    @classmethod
    def check(cls, hyperparameters: MSLRHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_branches("mslr", hyperparameters)
        hp = hyperparameters
        if unknown_names := [m for m in hp.lr_scale if m not in modalities]:
            raise MethodError(
                f"mslr: lr_scale: no modality {unknown_names[0]!r}; the dataset gives {', '.join(modalities)}"
            )
        if hp.unimodal_source == "aux" or hp.aux_detach:
            raise MethodError("mslr trains no auxiliary heads: use unimodal_source native or zero, aux_detach: false")
        if hp.strategy == "smooth" and hp.space == "log" and 0 in hp.lr_scale.values():
            raise MethodError("mslr: a rate of 0 has no logarithm: smooth in space linear, or scale no rate by 0")

    @classmethod
    def phases_of(cls, hyperparameters: MSLRHyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        hp = hyperparameters
        scales = [hp.lr_scale.get(modality, 1.0) for modality in modalities]
        if hp.strategy == "smooth":
            # The run's rate is a common factor, which smoothing lets through.
            scales = smooth_learning_rates(scales, hp.strength, hp.space)
        return [Phase("training", epochs, groups={**dict(zip(modalities, scales, strict=True)), MULTI: 1.0})]

    def build(self) -> None:
        super().build()
        self.window = in_epochs(self.hyperparameters.window, self.epochs)
        self.histories: dict[str, list[float]] = {modality: [] for modality in self.modalities}
        self._ratios: dict[str, float] = {}

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        own = [self.fusion.own_modules(position) for position in range(len(self.modalities))]
        return branch_groups(dict(self.encoders.items()), own, self.fusion)

    def on_validation(self, validation: Validation, context: Context) -> None:
        """Set the rates of the next epoch by the modalities' performances, beside the initial rates of the phase."""
        if self.hyperparameters.strategy != "dynamic":
            return
        metric, names = self.hyperparameters.performance, self.modalities
        current = [validation.scores[f"validation_{metric}_{modality}"] for modality in names]
        histories = [self.histories[modality] for modality in names]
        ratios = dynamic_learning_rates([1.0] * len(names), histories, current, self.window)
        for modality, ratio, value in zip(names, ratios, current, strict=True):
            context.rates[modality] = self._ratios[f"ratio_{modality}"] = ratio
            self.histories[modality] = [*self.histories[modality], value][-self.window :]

    def get_extra_state(self) -> dict[str, list[float]]:
        return {modality: list(values) for modality, values in self.histories.items()}

    def set_extra_state(self, state: Any) -> None:
        self.histories = {modality: list(values) for modality, values in state.items()}

    def diagnostics(self) -> dict[str, float]:
        """The learning rate of each group; with strategy dynamic the ratio of each modality for the next epoch."""
        return dict(self._ratios)
