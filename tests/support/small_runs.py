"""Small records and plans for tests of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sweep.config import load
from sweep.plan.build import plan
from sweep.plan.configurations import Plan
from sweep.runs.records import EnvironmentRecord, Run
from sweep.training.epoch_record import EpochRecord
from sweep.training.recipe import Recipe


def make_run(**changes: object) -> Run:
    fields = {
        "method": "joint",
        "hyperparameters": {},
        "dataset": "digits",
        "data": {},
        "fingerprint": "f",
        "encoders": {},
        "train": Recipe(),
        "epochs": 3,
        "metric": "accuracy",
        "patience": None,
        "test_peak": False,
        "seed": 0,
        "source": {},
    }
    return Run.model_validate(fields | changes)


def make_epoch(epoch: int) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        epochs=3,
        loss=1.0,
        learning_rate=0.1,
        seconds=0.1,
        samples=10 * epoch,
        forward_passes=10.0,
        samples_per_second=100.0,
        peak_memory_mib=1.0,
        metrics={"validation_accuracy": 0.5},
        diagnostics={},
    )


def make_environment(**changes: Any) -> EnvironmentRecord:
    found = EnvironmentRecord(
        packages={},
        python="3.11",
        code="c",
        git=None,
        hostname="h",
        platform="p",
        processor="p",
        cpus=1,
        gpus=[],
        command=[],
        workers=1,
        started="2026-01-01T00:00:00+00:00",
    )
    return found.model_copy(update=changes)


def make_plan(folder: Path, name: str = "s", **keys: Any) -> Plan:
    """The plan of a sweep of ``keys`` over the embedded digits."""
    sweep = {"method": "iprm", "datasets": ["digits"], "seeds": [0, 1], "epochs": 3, "references": False, **keys}
    sweep = {key: value for key, value in sweep.items() if value is not None}
    folder.mkdir(exist_ok=True)
    path = folder / "sweeps.yaml"
    path.write_text(yaml.safe_dump({"sweeps": {name: sweep}}))
    return plan(load(path, [name], [])[0])
