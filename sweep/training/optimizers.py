"""Optimizers and learning-rate schedules of a recipe, both torch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from methods.base.hyperparameters import in_epochs
from methods.base.optimizers import without_compiler
from methods.base.phase import Phase
from models import unknown
from sweep.training.recipe import Recipe, ScheduleSpec


def has_fused_kernel(parameter: nn.Parameter) -> bool:
    """Tell whether torch's fused kernels serve a parameter; that of SGD on a CPU is wrong in half precision."""
    if parameter.device.type == "cpu":
        return parameter.dtype in (torch.float32, torch.float64)
    return parameter.device.type == "cuda" and parameter.is_floating_point()


def fusable(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Derive an optimizer whose fused steps take whatever its plain steps take: a group that has a parameter without
    fused kernel goes on with plain ones.

    Torch's fused kernels read a gradient as if it lay in memory as its parameter does, and on a CPU do not look whether
    that is so. That of SGD fails where a parameter has its first gradient in a later step than another."""

    def step(self: torch.optim.Optimizer, closure: Callable[[], float] | None = None) -> Any:
        for group in self.param_groups:
            if group["fused"] and not all(map(has_fused_kernel, group["params"])):
                group["fused"] = None
            for parameter in group["params"] if group["fused"] else ():
                if parameter.grad is None:
                    continue
                if parameter.grad.stride() != parameter.stride():
                    with torch.no_grad():
                        parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
                if group.get("momentum") and "momentum_buffer" not in self.state[parameter]:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return kind.step(self, closure)

    return type(kind.__name__, (kind,), {"step": step})


_KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": fusable(without_compiler(torch.optim.SGD)),
    "adam": fusable(without_compiler(torch.optim.Adam)),
    "adamw": fusable(without_compiler(torch.optim.AdamW)),
}


def optimizer_kind(name: str) -> Callable[..., torch.optim.Optimizer]:
    """Return torch's optimizer of a name. Raises ValueError for an unknown one."""
    if name not in _KINDS:
        raise unknown("optimizer", name, tuple(_KINDS))
    return _KINDS[name]


def build_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Build the recipe's optimizer over the parameters that need gradients."""
    trained = [p for p in parameters if p.requires_grad]
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "sgd":
        options["momentum"] = recipe.momentum
    else:
        options["betas"] = (recipe.betas[0], recipe.betas[1])
    return optimizer_kind(recipe.optimizer)(trained, **options, **counting_options(recipe.optimizer, trained, recipe))


def counting_options(name: str, parameters: Iterable[nn.Parameter], recipe: Recipe) -> dict[str, Any]:
    """Give the options by which an optimizer that counts its steps counts them on the GPU, where the recipe has steps
    recorded there."""
    if name == "sgd" or not recipe.cuda_graphs or any(p.device.type != "cuda" for p in parameters):
        return {}
    return {"capturable": True}


class Schedule:
    """A learning-rate schedule over ``epochs`` epochs; ``step`` ends one, ``rate`` is the present learning rate.

    It is torch's own scheduler on an optimizer of nothing, so that groups of parameters can follow one schedule at
    factors of its rate, and phases can share it."""

    def __init__(self, spec: ScheduleSpec, lr: float, epochs: int) -> None:
        self._optimizer = optimizer_kind("sgd")([torch.zeros(1)], lr=lr)
        self._scheduler: lr_scheduler.LRScheduler | None = None
        if spec.name == "step":
            self._scheduler = lr_scheduler.StepLR(self._optimizer, max(1, in_epochs(spec.every, epochs)), spec.factor)
        elif spec.name == "cosine":
            self._scheduler = lr_scheduler.CosineAnnealingLR(self._optimizer, max(1, epochs))
        elif spec.name == "plateau":
            self._scheduler = lr_scheduler.ReduceLROnPlateau(
                self._optimizer, factor=spec.factor, patience=spec.patience
            )

    @property
    def rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, training_loss: float) -> None:
        """End an epoch whose mean training loss was ``training_loss`` (read by plateau only)."""
        # torch warns of schedulers that step before their optimizer did.
        self._optimizer.step()
        if isinstance(self._scheduler, lr_scheduler.ReduceLROnPlateau):
            self._scheduler.step(training_loss)
        elif self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        scheduler = self._scheduler.state_dict() if self._scheduler is not None else None
        return {"scheduler": scheduler, "rate": self.rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._scheduler is not None:
            self._scheduler.load_state_dict(state["scheduler"])
        self._optimizer.param_groups[0]["lr"] = state["rate"]


def check_schedule(phases: Sequence[Phase], spec: ScheduleSpec) -> None:
    """Raise ValueError where phases that train different groups would share one ``plateau`` schedule, which would
    compare their different losses."""
    if spec.name != "plateau":
        return
    for phase in phases:
        for other in phases:
            shared = phase.schedule_name == other.schedule_name and not (phase.holds_rate or other.holds_rate)
            if shared and phase.groups != other.groups:
                raise ValueError(
                    f"train.schedule plateau compares losses, and those of the phases {phase.name} and {other.name}, "
                    "which share a learning rate, are different ones; use constant, step or cosine"
                )
