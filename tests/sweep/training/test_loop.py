"""The training loop: selection, patience, schedules, divergence, what it refuses."""

from __future__ import annotations

import getpass
import os
import pwd
from typing import Any

import pytest
import torch
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import nn

import methods
from models.convolution import Conv3d
from sweep.training.loop import DivergedError, Training, fit
from sweep.training.metrics import predict_split, score
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup


def test_the_selected_epoch_is_the_first_best_on_validation_and_tested_with_its_weights() -> None:
    training = toy_training("joint", epochs=8)
    records = list(training.epochs())
    values = [record.metrics["validation_accuracy"] for record in records]
    result = training.result()
    assert result.selected_epoch == 1 + values.index(max(values))
    assert result.validation.items() >= records[result.selected_epoch - 1].metrics.items()
    dataset = toy_dataset()
    again = predict_split(training.method, dataset.test, torch.device("cpu"), WorkerGroup())
    assert result.test.items() >= score(again, dataset.test.labels, 4, "test").items()


def test_the_peak_is_the_best_test_epoch_of_each_metric_and_at_least_the_honest_number() -> None:
    training = toy_training("joint", epochs=8)
    for _ in training.epochs():
        pass
    result = training.result()
    peaks = {key: value for key, value in result.test.items() if key.startswith("test_peak_")}
    assert len(peaks) == 9
    for key, value in peaks.items():
        assert value >= result.test[key.replace("test_peak_", "test_")]


def test_without_peaks_the_test_split_is_predicted_only_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = toy_dataset()
    seen: list[int] = []
    gather = type(dataset.test).gather
    monkeypatch.setattr(
        type(dataset.test), "gather", lambda self, *a, **k: (seen.append(len(self)), gather(self, *a, **k))[1]
    )
    training = Training(toy_method("joint", dataset), dataset, Recipe(batch_size=16), seed=1)
    for _ in training.epochs():
        assert len(dataset.test) not in seen
    training.result()
    assert len(dataset.test) in seen


def test_patience_ends_training() -> None:
    dataset = toy_dataset()
    recipe = Recipe(batch_size=16, lr=1e-9)
    training = Training(toy_method("joint", dataset, epochs=20), dataset, recipe, seed=1, patience=3)
    assert len(list(training.epochs())) == 4
    assert training.result().selected_epoch == 1


def test_a_loss_that_is_not_finite_ends_training() -> None:
    with pytest.raises(DivergedError, match="epoch 1"):
        list(toy_training("joint", lr=1e30).epochs())


def test_a_user_whom_the_system_knows_by_number_alone_can_train(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(KeyError):
        getpass.getuser()
    toy_training("joint")
    assert getpass.getuser() == str(os.getuid())


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first, same, other = ([r.loss for r in toy_training("joint", seed=seed).epochs()] for seed in (3, 3, 4))
    assert first == same != other


class Clips(nn.Module):
    """Features by a 3-D convolution."""

    out_dim = 12

    def __init__(self) -> None:
        super().__init__()
        self.convolution = Conv3d(1, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x[:, None, None, None, :6]).flatten(1)


@pytest.mark.parametrize(("precision", "notes"), [("bf16", 1), ("fp32", 0)])
def test_half_precision_that_a_cpu_cannot_keep_is_noted_once(precision: Any, notes: int) -> None:
    dataset, recipe = toy_dataset(), Recipe(batch_size=16, precision=precision, device="cpu")
    lines: list[str] = []

    def training(state: dict[str, Any] | None = None) -> Training:
        parts = {m: Clips() for m in dataset.modalities}
        kind = methods.get("joint")
        method = kind(parts, dataset.num_classes, kind.Hyperparameters(), 2)
        return Training(method, dataset, recipe, seed=1, warn=lines.append, state=state)

    first = training()
    next(first.epochs())
    assert len(list(training(first.state_dict()).epochs())) == 1
    assert len([line for line in lines if "3-d convolutions stay in single precision on a CPU" in line]) == notes


def test_a_network_without_such_convolutions_is_not_noted() -> None:
    dataset, lines = toy_dataset(), list[str]()
    recipe = Recipe(batch_size=16, precision="bf16", device="cpu")
    Training(toy_method("joint", dataset), dataset, recipe, seed=1, warn=lines.append)
    assert lines == []


def test_fit_is_usable_from_a_script() -> None:
    dataset = toy_dataset()
    result = fit(toy_method("joint", dataset), dataset, Recipe(batch_size=16), seed=1)
    assert 0 <= result.test["test_accuracy"] <= 1
    assert result.samples == 4 * 45
    assert result.forward_passes == 4 * 45
    assert result.samples_per_second > 0
    assert result.peak_memory_mib > 0


def test_batches_that_workers_cannot_share_are_refused() -> None:
    class Two(WorkerGroup):
        def __init__(self) -> None:
            self.rank, self.size = 0, 2

    dataset = toy_dataset(train=33)
    with pytest.raises(ValueError, match="cannot be shared evenly among 2 workers"):
        Training(toy_method("joint", dataset), dataset, Recipe(batch_size=15), seed=1, workers=Two())
    training = Training(toy_method("joint", dataset), dataset, Recipe(batch_size=16), seed=1, workers=Two())
    with pytest.raises(ValueError, match="fewer than 2 workers: choose another"):
        next(training.epochs())
    training = Training(toy_method("bss", dataset), dataset, Recipe(batch_size=64), seed=1)
    with pytest.raises(ValueError, match="33 training samples give no whole batch of 64"):
        next(training.epochs())


def test_asking_for_a_gpu_without_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device is cuda but torch sees no GPU"):
        toy_training("joint", device="cuda")
