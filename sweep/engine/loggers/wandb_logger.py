"""Weights & Biases, through its own client: one process of theirs serves all runs of the driver.

The package, which is optional, is imported where it is used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep.config import WandbSpec

REMEDY = "log in with: wandb login; or write loggers.wandb.mode=offline and send the runs later with: wandb sync"
UPLOAD_WITHIN = 100
"""Seconds that a run has at its end to be sent."""


class WandbLogger:
    """Logs runs to one project, as many at a time as are under way. folder: for what is written on this machine."""

    def __init__(self, project: str, group: str, entity: str | None, mode: str, folder: Path) -> None:
        self._place: dict[str, Any] = {
            "project": project,
            "group": group,
            "entity": entity,
            "mode": mode,
            "dir": str(folder),
        }
        self._runs: dict[str, Any] = {}

    def start(self, key: str, name: str, parameters: Mapping[str, Any]) -> None:
        import wandb

        # The terminal is the display's, and a run that cannot be sent must not keep the process from its end.
        settings = wandb.Settings(console="off", finish_timeout=UPLOAD_WITHIN, finish_timeout_raises=True)
        self._runs[key] = wandb.init(
            **self._place, id=key, name=name, config=dict(parameters), reinit="create_new", settings=settings
        )

    def log(self, key: str, epoch: int, numbers: Mapping[str, float]) -> None:
        self._runs[key].log(dict(numbers), step=epoch)

    def end(self, key: str, outcome: Mapping[str, str], failed: bool) -> None:
        run = self._runs.pop(key)
        run.config.update(dict(outcome), allow_val_change=True)
        run.finish(exit_code=int(failed))

    def close(self) -> None:
        """End the process of theirs, which may still be writing what it was told."""
        import wandb

        wandb.teardown()


def connect(spec: WandbSpec, sweep: str, folder: Path) -> WandbLogger:
    """Make ready to log. Raises ValueError without a key."""
    import wandb

    mode = spec.mode or os.environ.get("WANDB_MODE", "online")
    # Asked for here, as wandb itself would ask for a missing one on the terminal.
    if mode not in ("offline", "disabled") and not wandb.login(prompt=False):
        raise ValueError("there is no API key")
    return WandbLogger(spec.project, spec.group or sweep, spec.entity, mode, folder)
