"""The numbers of training are those of the version that ``NUMERICS`` counts.

Where one of these tests fails, numbers have changed: raise ``NUMERICS``, say in CHANGELOG.md which and why, and store
the new values (``python tests/sweep/training/test_numerics.py`` prints them)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import data
import methods
from models import encoders
from sweep.training.loop import Training
from sweep.training.numerics import NUMERICS
from sweep.training.recipe import Recipe

STORED = Path(__file__).with_name("numerics.json")
CHANGELOG = Path(__file__).resolve().parents[3] / "CHANGELOG.md"

ADAM: dict[str, Any] = {"optimizer": "adamw", "lr": 0.003, "schedule": {"name": "cosine"}, "gradient_clip": 1.0}

RUNS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "joint": ("joint", {}, "mlp", {}),
    "joint + unimodal losses": ("joint", {"unimodal_loss_weight": 1.0}, "mlp", {}),
    "unimodal left": ("unimodal", {"modality": "left"}, "mlp", {}),
    "unimodal profile": ("unimodal", {"modality": "profile"}, "mlp", {}),
    "iprm": ("iprm", {}, "mlp", {}),
    "bss": ("bss", {}, "mlp", {}),
    "lfa": ("lfa", {}, "mlp", {}),
    "aug": ("aug", {}, "mlp", {}),
    "amss": ("amss", {}, "mlp", {}),
    "igm": ("igm", {}, "mlp", {}),
    "joint, adamw, cosine, clipped": ("joint", {}, "mlp", ADAM),
    "joint, bf16": ("joint", {}, "mlp", {"precision": "bf16"}),
}
"""Method, hyperparameters, encoder and recipe of each."""


def trained(name: str) -> dict[str, list[float]]:
    """Loss and validation accuracy of each of three epochs on 200 digits."""
    method, hyperparameters, encoder, recipe = RUNS[name]
    source, kind = data.get("digits"), methods.get(method)
    digits = source.load(source.Options(train_samples=200))  # type: ignore[call-arg]
    torch.manual_seed(0)
    branches = {m: encoders.build(encoders.resolve(encoder), shape) for m, shape in digits.shapes().items()}
    built = kind(branches, digits.num_classes, kind.Hyperparameters(**hyperparameters), 3)
    training = Training(built, digits, Recipe(batch_size=32, **recipe), seed=0)
    records = list(training.epochs())
    return {
        "loss": [record.loss for record in records],
        "accuracy": [record.metrics["validation_accuracy"] for record in records],
    }


@pytest.mark.parametrize("name", RUNS)
def test_the_numbers_are_those_of_this_version(name: str) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    assert stored["numerics"] == NUMERICS
    found, expected = trained(name), stored["runs"][name]
    # Processors differ in the last digits of a sum, which some steps of training amplify.
    exactness = 2e-2 if "bf16" in name else 1e-4
    assert found["loss"] == pytest.approx(expected["loss"], rel=exactness)
    assert found["accuracy"] == pytest.approx(expected["accuracy"], abs=0.01)


def test_the_history_of_the_numbers_is_told() -> None:
    told = re.findall(r"Numerics (\d+):", CHANGELOG.read_text(encoding="utf-8"))
    assert sorted(map(int, told)) == list(range(1, NUMERICS + 1))


if __name__ == "__main__":
    print(json.dumps({"numerics": NUMERICS, "runs": {name: trained(name) for name in RUNS}}, indent=1))
