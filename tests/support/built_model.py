"""An exported model of an untrained network, for tests of inference that need no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from support.small_runs import make_plan
from support.toy_dataset import toy_dataset, toy_method

from sweep.inference.model import WEIGHTS, ModelCard, write_card


def write_built_model(folder: Path, method: str = "joint", **changes: Any) -> Path:
    """Write a model of the toy dataset's modalities audio and video into a folder; ``changes`` are of its card."""
    toy = toy_dataset()
    folder.mkdir(exist_ok=True)
    (run,) = make_plan(folder / "plan", method=method).studies[0].configurations[0].runs([0])
    network = toy_method(method, toy)
    spec = {"name": "mlp", "width": 8}
    card = ModelCard(
        sweep="s",
        label=method,
        hash="0123",
        run=run.model_copy(update={"encoders": dict.fromkeys(toy.modalities, spec), "epochs": 4}),
        shapes={modality: list(shape) for modality, shape in toy.shapes().items()},
        classes=list(toy.classes),
        selected_epoch=1,
        validation={},
        packages={},
    ).model_copy(update=changes)
    write_card(folder, card)
    save_file({name: value.contiguous() for name, value in network.inference_state().items()}, folder / WEIGHTS)
    return folder
