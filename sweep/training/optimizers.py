"""Optimizers and learning-rate schedules of a recipe, both torch's own."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from methods.base.hyperparameters import in_epochs
from sweep.training.recipe import Recipe, ScheduleSpec


def build_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Build the recipe's optimizer over the parameters that need gradients."""
    _name_user()
    trained = [p for p in parameters if p.requires_grad]
    options: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if any(p.is_cuda for p in trained):
        options["fused"] = True
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(trained, momentum=recipe.momentum, **options)
    betas = (recipe.betas[0], recipe.betas[1])
    if recipe.optimizer == "adam":
        return torch.optim.Adam(trained, betas=betas, **options)
    return torch.optim.AdamW(trained, betas=betas, **options)


def _name_user() -> None:
    """Call the user by number where the system knows no name, as in a container started for a user of its host: torch
    asks for a name before it makes an optimizer."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())


@dataclass
class Schedule:
    """A learning-rate schedule over ``epochs`` epochs, ``done`` of them finished; ``step`` ends one."""

    scheduler: lr_scheduler.LRScheduler | None
    epochs: int
    done: int = 0

    def step(self, training_loss: float) -> None:
        """End an epoch whose mean training loss was ``training_loss`` (read by plateau only)."""
        self.done += 1
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(training_loss)
        elif self.scheduler is not None:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return {
            "scheduler": self.scheduler.state_dict() if self.scheduler is not None else None,
            "epochs": self.epochs,
            "done": self.done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.epochs, self.done = state["epochs"], state["done"]


def build_schedule(optimizer: torch.optim.Optimizer, spec: ScheduleSpec, epochs: int) -> Schedule:
    """Build the schedule that ``spec`` asks for, over a phase of ``epochs`` epochs."""
    scheduler: lr_scheduler.LRScheduler | None = None
    if spec.name == "step":
        scheduler = lr_scheduler.StepLR(optimizer, max(1, in_epochs(spec.every, epochs)), spec.factor)
    elif spec.name == "cosine":
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs))
    elif spec.name == "plateau":
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=spec.factor, patience=spec.patience)
    return Schedule(scheduler, epochs)
