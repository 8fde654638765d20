"""What only a GPU can show: ``python -m pytest -m gpu``. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from support.toy_dataset import toy_training

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


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_learns_what_a_cpu_learns(name: str) -> None:
    (on_gpu, found), (on_cpu, expected) = (finished(name, device=device) for device in ("cuda", "cpu"))
    assert {p.device.type for p in on_gpu.method.parameters()} == {"cuda"}
    state = on_cpu.method.state_dict()
    for key, value in on_gpu.method.state_dict().items():
        torch.testing.assert_close(
            value.cpu(), state[key], rtol=1e-3, atol=1e-4, msg=lambda text, k=key: f"{k}: {text}"
        )
    # One of 22 samples may lie on the edge between two classes.
    assert found.test["test_accuracy"] == pytest.approx(expected.test["test_accuracy"], abs=1.5 / 22)


@pytest.mark.parametrize("name", NAMES)
def test_deterministic_runs_are_bit_equal(name: str) -> None:
    first, second = (finished(name, device="cuda", deterministic=True)[0].method.state_dict() for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize("options", [{"precision": "tf32"}, {"precision": "bf16"}, {"compile": True}], ids=str)
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
