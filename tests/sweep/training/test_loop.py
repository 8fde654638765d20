"""The training loop: selection, patience, schedules, divergence, what it refuses."""

from __future__ import annotations

import copy
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.toy_dataset import CLASSES, toy_dataset, toy_method, toy_training
from torch import nn

import methods
from data.base import Batch, allocation
from models.convolution import Conv3d
from sweep.training import loop
from sweep.training.context import TrainingContext
from sweep.training.epoch_record import EpochRecord
from sweep.training.loop import DivergedError, Training, fit
from sweep.training.metrics import imbalance, predict_split, score
from sweep.training.recipe import Recipe, ScheduleSpec
from sweep.training.workers import WorkerGroup


def followed(training: Training) -> tuple[list[EpochRecord], list[dict[str, Any]]]:
    """Train to the end; the record of each epoch and a copy of the weights after it."""
    records, weights = list[EpochRecord](), list[dict[str, Any]]()
    for record in training.epochs():
        records.append(record)
        weights.append(copy.deepcopy(training.method.state_dict()))
    return records, weights


def scored(weights: dict[str, Any]) -> dict[str, float]:
    """Score these weights on the test split, in a network of their own."""
    dataset = toy_dataset()
    method = toy_method("joint", dataset)
    method.load_state_dict(weights)
    predictions = predict_split(method, dataset.test, torch.device("cpu"), WorkerGroup())
    return score(predictions, dataset.test.labels, CLASSES, "test")


@pytest.mark.parametrize("resumed", [False, True])
def test_the_selected_epoch_is_the_first_best_on_validation_and_tested_with_its_weights(resumed: bool) -> None:
    training = toy_training("joint", epochs=8, lr=0.2)
    records, weights = followed(training)
    if resumed:
        training = toy_training("joint", epochs=8, lr=0.2, seed=9, state=copy.deepcopy(training.state_dict()))
    values = [record.metrics["validation_accuracy"] for record in records]
    result = training.result()
    assert result.selected_epoch == 1 + values.index(max(values)) < len(records)
    assert result.validation.items() >= records[result.selected_epoch - 1].metrics.items()
    selected = weights[result.selected_epoch - 1]
    assert result.test.items() >= scored(selected).items()
    assert not result.test.items() >= scored(weights[-1]).items()
    found = training.method.state_dict()
    assert all(torch.equal(found[name], value) for name, value in selected.items())


def test_the_peak_is_the_best_test_epoch_of_each_metric_and_at_least_the_honest_number() -> None:
    training = toy_training("joint", epochs=8, lr=0.2)
    _, weights = followed(training)
    result = training.result()
    each = [scored(found) for found in weights]
    peaks = {key: value for key, value in result.test.items() if key.startswith("test_peak_")}
    assert len(peaks) == 9
    for key, value in peaks.items():
        honest = key.replace("test_peak_", "test_")
        assert value == max(found[honest] for found in each) >= result.test[honest]
    # Of some metric the best epoch is neither the last one nor the selected one.
    assert any(value > max(result.test[key], each[-1][key]) for key, value in _without_peak(peaks).items())


class Turned(methods.get("joint")):  # type: ignore[misc]
    """Joint training that predicts from weights with the other sign, as a method may from an average of its own."""

    def inference_state(self) -> dict[str, Any]:
        return {name: -value for name, value in super().inference_state().items()}


def test_the_peak_is_of_the_weights_that_would_be_kept_and_leaves_those_in_training_alone() -> None:
    dataset, found = toy_dataset(), []
    for peak in (True, False):
        method = toy_method("joint", dataset, epochs=3)
        method.__class__ = Turned
        training = Training(method, dataset, Recipe(batch_size=16, lr=0.05), seed=3, test_peak=peak)
        found.append((*followed(training), training.result()))
    (records, weights, result), (plain, same, _) = found
    assert [(r.loss, r.metrics) for r in records] == [(r.loss, r.metrics) for r in plain]
    for one, other in zip(weights, same, strict=True):
        assert all(torch.equal(other[name], value) for name, value in one.items())
    turned = [scored({name: -value for name, value in each.items()}) for each in weights]
    for key in turned[0]:
        assert result.test[key.replace("test_", "test_peak_")] == max(each[key] for each in turned)


def _without_peak(peaks: dict[str, float]) -> dict[str, float]:
    return {key.replace("test_peak_", "test_"): value for key, value in peaks.items()}


def test_shapley_values_and_imbalance_are_of_the_split_whose_name_they_bear() -> None:
    training, dataset = toy_training("joint", epochs=6), toy_dataset()
    followed(training)
    result, device, workers = training.result(), torch.device("cpu"), WorkerGroup()
    own = imbalance(training.method, dataset.validation, device, workers, "validation")
    test = imbalance(training.method, dataset.test, device, workers, "test")
    assert list(own.values()) != list(test.values())
    assert result.validation.items() >= own.items()
    assert result.test.items() >= test.items()


@pytest.mark.parametrize(("precision", "expected"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_the_precision_is_that_of_the_networks_forward_passes(precision: Any, expected: torch.dtype) -> None:
    training, steps, validation = toy_training("joint", epochs=1, precision=precision), set[Any](), set[Any]()
    layers = [module for module in training.method.modules() if isinstance(module, nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(
            lambda module, given, logits: (steps if module.training else validation).add(logits.dtype)
        )
    (record,) = training.epochs()
    assert len(layers) > 2
    assert (steps, validation) == ({expected}, {torch.float32})
    assert {parameter.dtype for parameter in training.method.parameters()} == {torch.float32}
    (full,) = toy_training("joint", epochs=1).epochs()
    assert (record.loss == full.loss) == (precision == "fp32")
    assert record.loss == pytest.approx(full.loss, rel=0.05)


# Numbers of the record --------------------------------------------------------------------------------------------

STEP, PREDICTION = 2.0, 5.0
"""Seconds of a training step and of the prediction of a split, by the clock of :class:`Timed`."""


class Timed:
    """A training of two epochs by a clock that only steps and predictions move, with memory that falls again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **recipe: Any) -> None:
        self.now, self.memory, dataset = 0.0, iter([300, 200]), toy_dataset()
        monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: self.now))
        monkeypatch.setattr(loop, "psutil", SimpleNamespace(Process=lambda: self))
        method = toy_method("joint", dataset, epochs=2)
        self._losses = iter([1.0, 2.0, 4.0] * 2)
        monkeypatch.setattr(method, "training_step", self._step)
        predict = method.predict
        monkeypatch.setattr(method, "predict", lambda *given: self._passed(PREDICTION, predict(*given)))
        self.training = Training(method, dataset, Recipe(batch_size=16, device="cpu", **recipe), seed=1)

    def _step(self, batch: Batch, context: TrainingContext) -> torch.Tensor:
        context.optimizer_step()
        return self._passed(STEP, torch.tensor(next(self._losses)))

    def _passed(self, seconds: float, value: Any) -> Any:
        self.now += seconds
        return value

    def memory_info(self) -> SimpleNamespace:
        return SimpleNamespace(rss=next(self.memory) * 2**20)


def test_seconds_count_training_and_evaluation_and_samples_a_second_training_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed = Timed(monkeypatch)
    for record in timed.training.epochs():
        assert record.seconds == 3 * STEP + PREDICTION
        assert record.samples_per_second == 45 / (3 * STEP)
    result = timed.training.result()
    # The test split, and three subsets of two modalities on each of two splits.
    assert result.seconds == 2 * (3 * STEP + PREDICTION) + 7 * PREDICTION == timed.now
    assert result.samples_per_second == 45 / (3 * STEP)


def test_memory_is_the_most_so_far_in_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = Timed(monkeypatch)
    assert [record.peak_memory_mib for record in timed.training.epochs()] == [300, 300]
    assert timed.training.result().peak_memory_mib == 300


def test_the_loss_is_the_mean_over_samples_and_the_rate_that_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = Timed(monkeypatch, lr=0.1, schedule=ScheduleSpec(name="step", every=1.0, factor=0.5))
    records = list(timed.training.epochs())
    # Batches of 16, 16 and 13 samples.
    assert [r.loss for r in records] == pytest.approx([(16 * 1 + 16 * 2 + 13 * 4) / 45] * 2)
    assert [r.learning_rate for r in records] == pytest.approx([0.1, 0.05])
    assert [(r.epoch, r.epochs, r.samples, r.forward_passes) for r in records] == [(1, 2, 45, 45), (2, 2, 90, 90)]


def test_a_resumed_run_adds_its_time_and_samples_to_the_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Timed(monkeypatch)
    next(first.training.epochs())
    second = Timed(monkeypatch)
    second.training.load_state_dict(copy.deepcopy(first.training.state_dict()))
    (record,) = second.training.epochs()
    assert (record.epoch, record.samples, record.forward_passes) == (2, 90, 90)
    assert record.seconds == 3 * STEP + PREDICTION
    result = second.training.result()
    assert (result.epochs_trained, result.samples) == (2, 90)
    assert result.seconds == 2 * (3 * STEP + PREDICTION) + 7 * PREDICTION
    assert result.samples_per_second == 45 / (3 * STEP)


# ------------------------------------------------------------------------------------------------------------------


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


def test_predictions_that_are_no_numbers_end_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six rows of NaN would be scored: accuracy 0.33 on three classes of two."""
    training = toy_training("joint")
    plain = type(training.method).predict

    def predict(method: Any, batch: Any, present: Any = None) -> dict[str, torch.Tensor]:
        return {name: logits * math.nan for name, logits in plain(method, batch, present).items()}

    monkeypatch.setattr(type(training.method), "predict", predict)
    with pytest.raises(DivergedError, match="predictions of multi are not numbers in epoch 1"):
        list(training.epochs())


def test_scores_of_samples_that_are_not_finite_are_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    training = toy_training("bss", {"scheduler": "learning"})

    def criteria(method: Any, batch: Any, context: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(batch)), torch.full((len(batch),), math.inf)

    monkeypatch.setattr(type(training.method), "criteria", criteria)
    with pytest.raises(DivergedError, match="bss: the loss of a sample is not finite"):
        list(training.epochs())


@pytest.mark.parametrize(("samples", "warned"), [(34, True), (35, False), (33, False)])
def test_a_last_batch_of_two_under_batch_norm_is_warned_of(samples: int, warned: bool) -> None:
    dataset, lines = toy_dataset(train=samples), list[str]()
    method = toy_method("joint", dataset, epochs=1)
    method.encoders["audio"].norm = torch.nn.BatchNorm1d(4)
    training = Training(method, dataset, Recipe(batch_size=16), seed=1, warn=lines.append)
    (record,) = training.epochs()
    assert record.samples == samples
    assert any("the last batch of an epoch has two samples" in line for line in lines) is warned


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first, same, other = ([r.loss for r in toy_training("joint", seed=seed).epochs()] for seed in (3, 3, 4))
    assert first == same != other


class OneOfTwo(WorkerGroup):
    """A worker of two that hears nothing of the other."""

    def __init__(self, rank: int) -> None:
        self.rank, self.size = rank, 2

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    def gather(self, value: torch.Tensor, counts: list[int]) -> torch.Tensor:
        return value.new_zeros(sum(counts), *value.shape[1:])


def noise_of_training(
    monkeypatch: pytest.MonkeyPatch, seed: int = 1, state: dict[str, Any] | None = None, rank: int | None = None
) -> tuple[list[float], dict[str, Any]]:
    """Numbers that a network draws in the steps of two epochs, as dropout does; the state after the first epoch."""
    dataset, drawn = toy_dataset(), list[float]()
    method = toy_method("joint", dataset, epochs=2)

    def step(batch: Batch, context: TrainingContext) -> torch.Tensor:
        drawn.append(float(torch.rand(())))
        return torch.zeros(())

    monkeypatch.setattr(method, "training_step", step)
    workers, recipe = None if rank is None else OneOfTwo(rank), Recipe(batch_size=16)
    training = Training(method, dataset, recipe, seed=seed, state=state, workers=workers)
    kept = [copy.deepcopy(training.state_dict()) for _ in training.epochs()]
    return drawn, kept[0]


def test_noise_of_training_differs_by_epoch_seed_and_worker_and_comes_again_on_resuming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn, after_one = noise_of_training(monkeypatch)
    assert len({*drawn}) == len(drawn) == 6
    torch.manual_seed(99)
    assert noise_of_training(monkeypatch)[0] == drawn
    assert noise_of_training(monkeypatch, state=after_one)[0] == drawn[3:]
    assert not {*noise_of_training(monkeypatch, seed=2)[0]} & {*drawn}
    assert not {*noise_of_training(monkeypatch, rank=1)[0]} & {*noise_of_training(monkeypatch, rank=0)[0]}


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
    training = Training(toy_method("bss", dataset), dataset, Recipe(batch_size=64), seed=1)
    with pytest.raises(ValueError, match="33 training samples give no whole batch of 64"):
        next(training.epochs())


def test_copies_of_the_best_weights_are_kept_in_the_same_memory() -> None:
    kept: dict[str, Any] = {}
    loop.keep_copies(kept, {"weight": torch.ones(2), "mean": torch.zeros(3), "note": [1], "gone": torch.ones(1)})
    weight, mean, note = kept["weight"], kept["mean"], [2]
    state = {"weight": torch.full((2,), 5.0), "mean": torch.zeros(4), "note": note}
    loop.keep_copies(kept, state)
    assert kept.keys() == state.keys()
    assert kept["weight"] is weight
    assert weight.tolist() == [5, 5]
    assert kept["mean"] is not mean
    state["weight"].zero_()
    state["mean"].add_(1)
    note.append(3)
    assert (weight.tolist(), kept["mean"].tolist(), kept["note"]) == ([5, 5], [0, 0, 0, 0], [2])


def test_what_a_resumed_run_keeps_is_its_own() -> None:
    """The state that one checkpoint holds may be resumed twice."""
    state = next_state(toy_training("joint", epochs=6, lr=0.2))
    before = copy.deepcopy(state["best"])
    toy = toy_training("joint", epochs=6, lr=0.2, seed=9, state=state)
    for _ in toy.epochs():
        pass
    assert toy.result().selected_epoch > 1
    assert all(torch.equal(value, before[name]) for name, value in state["best"].items())


def next_state(training: Training) -> dict[str, Any]:
    """Train one epoch; return the state after it."""
    next(training.epochs())
    return training.state_dict()


def test_fit_leaves_the_memory_of_its_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    monkeypatch.setattr(allocation, "_glibc", lambda: asked.append("glibc"))
    dataset = toy_dataset()
    fit(toy_method("joint", dataset), dataset)
    assert not asked
    allocation.return_freed_memory()
    assert asked
