"""A method that gets into trouble when it is told to: for tests of what the engine does then."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Literal

import torch
from support.freed_memory import has_glibc, keeps_freed_memory
from torch import Tensor

from data.base import Batch
from methods import Context, hyper
from methods.joint import Joint, JointHyperparameters

TROUBLED_EPOCH = 3


class OddHyperparameters(JointHyperparameters):
    trouble: Literal["none", "raise", "diverge", "die", "orphan", "hang", "exit", "exhaust"] = hyper(
        "none", meaning="what happens in epoch 3"
    )
    once: str = hyper("", meaning="a file that lists the epochs begun, with which it happens once; empty: always")
    pause: float = hyper(0.0, low=0.0, meaning="seconds that an epoch takes longer")
    hurry: str = hyper("", meaning="a file with which no epoch takes longer any more; empty: never")


class Odd(Joint):
    """Joint training, but in epoch 3 the last worker gets into ``trouble``."""

    name = "odd"
    title = "Joint training, with trouble"
    Hyperparameters = OddHyperparameters
    hyperparameters: OddHyperparameters

    def on_epoch_start(self, context: Context) -> None:
        if not (self.hyperparameters.hurry and Path(self.hyperparameters.hurry).exists()):
            time.sleep(self.hyperparameters.pause)
        if (
            context.rank != context.world_size - 1
            or self._begun_before(context.epoch)
            or context.epoch != TROUBLED_EPOCH
        ):
            return
        if self.hyperparameters.trouble == "raise":
            raise LookupError("the odd method was told to raise")
        if self.hyperparameters.trouble == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.hyperparameters.trouble == "orphan":
            os.kill(int(os.environ["RAY_RAYLET_PID"]), signal.SIGKILL)  # the node, and so its whole cluster
            time.sleep(3600)
        if self.hyperparameters.trouble == "hang":
            time.sleep(3600)
        if self.hyperparameters.trouble == "exit":
            sys.exit(3)
        if self.hyperparameters.trouble == "exhaust":
            torch.empty(2**52)

    def _begun_before(self, epoch: int) -> bool:
        if not self.hyperparameters.once:
            return False
        mark = Path(self.hyperparameters.once)
        begun = mark.read_text().split() if mark.exists() else []
        mark.write_text(" ".join([*begun, str(epoch)]))
        return str(epoch) in begun

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        loss = super().training_step(batch, context)
        context.log("keeps_freed_memory", float(has_glibc() and keeps_freed_memory()))
        if self.hyperparameters.trouble == "diverge" and context.epoch == TROUBLED_EPOCH:
            return torch.full_like(loss, torch.nan)
        return loss
