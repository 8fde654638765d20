"""The training loop: plain PyTorch, one worker or many, without Ray.

    dataset = source.load(source.Options())     # source = data.get("digits")
    result = fit(method, dataset, Recipe(lr=0.05), seed=0)     # see :func:`fit`

One :class:`Training` is one run: iterate :meth:`Training.epochs`, then ask :meth:`Training.result`."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
import torch

from data.base import Dataset, Split
from methods.base import Method
from models.convolution import Conv3d
from sweep.training import seeds
from sweep.training.context import TrainingContext
from sweep.training.epoch_record import EpochRecord
from sweep.training.metrics import absent_classes, imbalance, metric_name, predict_split, score
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup

MIB = 2**20
DEVICE_SHARE = 0.25
"""Largest share of a GPU's free memory that a training split may take to live there."""


class DivergedError(ArithmeticError):
    """The training loss is not finite."""


@dataclass
class FitResult:
    """Outcome of a training: validation metrics at the selected epoch, test metrics with that epoch's weights.
    The method holds the selected epoch's weights."""

    selected_epoch: int
    epochs_trained: int
    validation: dict[str, float]
    test: dict[str, float]
    seconds: float
    samples: int
    forward_passes: float
    samples_per_second: float
    peak_memory_mib: float


@dataclass
class _Progress:
    """Everything that a resumed run takes up beside the weights and the optimizer."""

    epoch: int = 0
    step: int = 0
    samples: int = 0
    scored: float = 0.0
    seconds: float = 0.0
    training_seconds: float = 0.0
    peak_memory: float = 0.0
    selected_epoch: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)


class Training:
    """One run of one method on one dataset.

    metric: accuracy, map or macro_f1, on validation data; its best epoch (the first of equals) is selected.
    patience: epochs without a better value after which training ends. test_peak: record the best test epoch too.
    state: of an earlier :meth:`state_dict`, to go on from. warn: takes a line for the run's log.
    Raises ValueError where batches cannot be shared among the workers."""

    def __init__(
        self,
        method: Method,
        dataset: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        metric: str = "accuracy",
        patience: int | None = None,
        test_peak: bool = False,
        state: dict[str, Any] | None = None,
        workers: WorkerGroup | None = None,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._workers = workers or WorkerGroup()
        if recipe.batch_size % self._workers.size:
            raise ValueError(
                f"train.batch_size {recipe.batch_size} cannot be shared evenly among {self._workers.size} workers"
            )
        torch.set_num_threads(recipe.threads)
        self.device = pick_device(recipe)
        self.method = method.to(self.device)
        self._dataset, self._recipe = _resident(dataset, self.device), recipe
        self._metric, self._patience, self._test_peak = metric_name("validation", metric), patience, test_peak
        self._context = TrainingContext(self._dataset, recipe, seed, self.device, self._workers, warn)
        self._context.epochs = method.total_epochs()
        self._progress = _Progress()
        self._best: dict[str, Any] = {}
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        for name, split in (("validation", dataset.validation), ("test", dataset.test)):
            if absent := absent_classes(split.labels, dataset.classes):
                warn(f"{name} split without samples of {', '.join(absent)}: left out of MAP")
        if state is None:
            if recipe.precision == "bf16" and self.device.type == "cpu" and _has_conv3d(method):
                warn(
                    "train.precision bf16: 3-d convolutions stay in single precision on a CPU, where torch's gradients "
                    "of them in half precision may not be finite"
                )
            self._enter_phase(1)
            self.method.on_fit_start(self._context)
        else:
            self.load_state_dict(state)

    # State -----------------------------------------------------------------------------------------------------

    def _enter_phase(self, epoch: int) -> None:
        self._context.epoch = epoch
        self._context.new_optimizer(self.method.trained_parameters(epoch), self.method.phase_epochs(epoch))

    def state_dict(self) -> dict[str, Any]:
        """Return all that :meth:`load_state_dict` needs to go on as if never interrupted (bit-equal on a CPU)."""
        return {
            "method": self.method.state_dict(),
            "optimizer": self._context.optimizer.state_dict(),
            "schedule": self._context.schedule.state_dict(),
            "progress": vars(self._progress),
            "best": self._best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._progress = _Progress(**state["progress"])
        self.method.load_state_dict(state["method"])
        self._enter_phase(max(1, self._progress.epoch))
        self._context.optimizer.load_state_dict(state["optimizer"])
        self._context.schedule.load_state_dict(state["schedule"])
        self._context.step, self._context.scored = self._progress.step, self._progress.scored
        self._best = state["best"]

    @property
    def epoch(self) -> int:
        """Count the epochs finished so far."""
        return self._progress.epoch

    # Epochs ----------------------------------------------------------------------------------------------------

    def epochs(self) -> Iterator[EpochRecord]:
        """Train the epochs that remain, one record after each. Raises DivergedError for a loss that is not finite."""
        for epoch in range(self._progress.epoch + 1, self._context.epochs + 1):
            if self._exhausted_patience():
                return
            yield self._epoch(epoch)

    def _exhausted_patience(self) -> bool:
        waited = self._progress.epoch - self._progress.selected_epoch
        return self._patience is not None and self._progress.epoch > 0 and waited >= self._patience

    def _epoch(self, epoch: int) -> EpochRecord:
        started, context, progress = time.perf_counter(), self._context, self._progress
        context.epoch = epoch
        torch.manual_seed(seeds.derive(context.seed, "noise", epoch, context.rank))
        self.method.train()
        self.method.on_epoch_start(context)
        learning_rate = context.optimizer.param_groups[0]["lr"]
        total, samples = torch.zeros((), device=self.device), 0
        for batch in context.training_batches(self.method.sampler(context), self.method.drop_last):
            total += self.method.training_step(batch, context) * len(batch)
            samples += len(batch)
        joint = context.sum(torch.tensor([float(total), float(samples)], dtype=torch.float64))
        loss, samples = float(joint[0] / joint[1]), int(joint[1])
        if not math.isfinite(loss):
            raise DivergedError(f"training loss is {loss} in epoch {epoch}")
        self.method.on_epoch_end(context)
        context.schedule.step(loss)
        trained = time.perf_counter() - started

        validation = self._score(self._dataset.validation, "validation")
        if not progress.validation or validation[self._metric] > progress.validation[self._metric]:
            progress.selected_epoch, progress.validation = epoch, validation
            self._best = {k: copy.deepcopy(v) for k, v in self.method.state_dict().items()}
        if self._test_peak:
            test = self._score(self._dataset.test, "test_peak")
            progress.peaks = {key: max(value, progress.peaks.get(key, value)) for key, value in test.items()}
        progress.epoch, progress.step = epoch, context.step
        progress.samples += samples
        progress.scored = context.scored
        progress.training_seconds += trained
        progress.peak_memory = max(progress.peak_memory, self._memory())
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        return EpochRecord(
            epoch=epoch,
            epochs=context.epochs,
            loss=loss,
            learning_rate=learning_rate,
            seconds=seconds,
            samples=progress.samples,
            forward_passes=self._forward_passes(),
            samples_per_second=samples / trained,
            peak_memory_mib=progress.peak_memory,
            metrics=validation,
            diagnostics=self.method.diagnostics(),
        )

    def _score(self, split: Split, prefix: str) -> dict[str, float]:
        predictions = predict_split(self.method, split, self.device, self._workers)
        return score(predictions, split.labels.to(self.device), self._dataset.num_classes, prefix)

    def _forward_passes(self) -> float:
        return self._progress.samples * self.method.passes_per_sample() + self._progress.scored

    def _memory(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / MIB
        return psutil.Process().memory_info().rss / MIB

    # The end ---------------------------------------------------------------------------------------------------

    def result(self) -> FitResult:
        """Put the selected epoch's weights back and evaluate the test split with them, once."""
        started, progress = time.perf_counter(), self._progress
        self.method.load_state_dict(self._best)
        test = self._score(self._dataset.test, "test") | progress.peaks
        test |= imbalance(self.method, self._dataset.test, self.device, self._workers, "test")
        shapley = imbalance(self.method, self._dataset.validation, self.device, self._workers, "validation")
        return FitResult(
            selected_epoch=progress.selected_epoch,
            epochs_trained=progress.epoch,
            validation=progress.validation | shapley,
            test=test,
            seconds=progress.seconds + time.perf_counter() - started,
            samples=progress.samples,
            forward_passes=self._forward_passes(),
            samples_per_second=progress.samples / max(progress.training_seconds, 1e-9),
            peak_memory_mib=progress.peak_memory,
        )


def fit(method: Method, dataset: Dataset, recipe: Recipe | None = None, *, seed: int = 0, **options: Any) -> FitResult:
    """Train ``method`` for its budget and evaluate it: the loop for scripts and tests. ``options`` are those of
    :class:`Training`."""
    training = Training(method, dataset, recipe or Recipe(), seed=seed, **options)
    for _ in training.epochs():
        pass
    return training.result()


def pick_device(recipe: Recipe) -> torch.device:
    """Pick the recipe's device; auto takes the current GPU where there is one. Raises ValueError for cuda without
    GPU."""
    available = torch.cuda.is_available()
    if recipe.device == "cuda" and not available:
        raise ValueError("train.device is cuda but torch sees no GPU; use device: auto, or ask for resources.gpus")
    return torch.device("cuda" if available and recipe.device != "cpu" else "cpu")


def _has_conv3d(method: Method) -> bool:
    return any(isinstance(module, Conv3d) for module in method.modules())


def _resident(dataset: Dataset, device: torch.device) -> Dataset:
    """Move a dataset's splits to the GPU where they fit easily; else return it as it is."""
    if device.type != "cuda":
        return dataset
    splits = (dataset.train, dataset.validation, dataset.test)
    if sum(split.nbytes for split in splits) > DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return dataset
    train, validation, test = (split.to(device) for split in splits)
    return replace(dataset, train=train, validation=validation, test=test)
