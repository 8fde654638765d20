"""What only a GPU can show: ``python -m pytest -m gpu``. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.toy_dataset import toy_training
from torch import Tensor

import methods
from sweep.training.loop import FitResult, Training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine"),
]
NAMES = ("joint", "iprm", "bss", "amss", "umt", "ensemble")


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """Leave torch as other tests expect it."""
    yield
    torch.use_deterministic_algorithms(False)


def finished(name: str, **recipe: Any) -> tuple[Training, FitResult]:
    """Train a method on the toy dataset to the end."""
    training = toy_training(name, **recipe)
    for _ in training.epochs():
        pass
    return training, training.result()


def tensors(training: Training) -> dict[str, Tensor]:
    """Parameters and buffers, on the host."""
    state = training.method.state_dict()
    return {key: value.cpu() for key, value in state.items() if isinstance(value, Tensor)}


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_learns_what_a_cpu_learns(name: str) -> None:
    (on_gpu, found), (on_cpu, expected) = (finished(name, device=device) for device in ("cuda", "cpu"))
    assert {p.device.type for p in on_gpu.method.parameters()} == {"cuda"}
    torch.testing.assert_close(tensors(on_gpu), tensors(on_cpu), rtol=1e-3, atol=1e-4)
    # One of 22 samples may lie on the edge between two classes.
    assert found.test["test_accuracy"] == pytest.approx(expected.test["test_accuracy"], abs=1.5 / 22)


@pytest.mark.parametrize("name", NAMES)
def test_deterministic_runs_are_bit_equal(name: str) -> None:
    first, second = (tensors(finished(name, device="cuda", deterministic=True)[0]) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [(name, "sgd") for name in methods.names() if name != "unimodal"] + [(name, "adam") for name in NAMES],
)
def test_recorded_steps_learn_what_steps_learn(name: str, optimizer: str) -> None:
    """Of batches of 16 from 85 samples; as ever where the method does not allow it."""
    options = {"device": "cuda", "samples": 85, "epochs": 2, "optimizer": optimizer, "lr": 0.01}
    recorded, stepped = (finished(name, cuda_graphs=asked, **options) for asked in (True, False))
    assert (recorded[0]._graphs is not None) == recorded[0].method.capturable
    torch.testing.assert_close(tensors(recorded[0]), tensors(stepped[0]), rtol=1e-3, atol=1e-4)
    assert recorded[1].forward_passes == stepped[1].forward_passes


@pytest.mark.parametrize(
    "options",
    [{"precision": "tf32"}, {"precision": "bf16"}, {"compile": True}, {"precision": "bf16", "cuda_graphs": True}],
    ids=str,
)
def test_what_makes_a_gpu_fast_learns_as_well(options: dict[str, Any]) -> None:
    _, found = finished("iprm", device="cuda", epochs=8, **options)
    _, expected = finished("iprm", device="cuda", epochs=8)
    assert found.test["test_accuracy"] == pytest.approx(expected.test["test_accuracy"], abs=3.5 / 22)


def test_a_run_may_not_take_more_than_its_share_of_the_card() -> None:
    dataset = toy_training("joint", device="cuda")._dataset
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        Training(toy_training("joint").method, dataset, toy_training("joint")._recipe, seed=1, gpu_share=0.05)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.empty(total // 10, dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
