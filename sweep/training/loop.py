"""The training loop: plain PyTorch, one worker or many, without Ray.

    dataset = source.load(source.Options())     # source = data.get("digits")
    result = fit(method, dataset, Recipe(lr=0.05), seed=0)     # see :func:`fit`

One :class:`Training` is one run: iterate :meth:`Training.epochs`, then ask :meth:`Training.result`."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn import functional as F

from data.base import Dataset, Split
from methods.base import DivergedError, Method, Validation
from methods.base.phase import place_of, total_epochs
from models.convolution import Conv3d
from sweep.training.context import TrainingContext
from sweep.training.device import compiled_encoders, pick_device, placed_dataset, placed_method, reads_from_host, set_up
from sweep.training.epoch_record import EpochRecord
from sweep.training.metrics import absent_classes, imbalance, metric_name, predict_split, score
from sweep.training.optimizers import check_schedule
from sweep.training.predictions import SamplePredictions, sample_predictions
from sweep.training.probabilities import score_probabilities
from sweep.training.recipe import Recipe
from sweep.training.step_graphs import StepGraphs, recorder
from sweep.training.workers import WorkerGroup

MIB = 2**20


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
    predictions: SamplePredictions
    """Of the test split."""


@dataclass
class _Progress:
    """Everything that a resumed run takes up beside the weights and the optimizers."""

    epoch: int = 0
    budget_step: int = 0
    phase_step: int = 0
    samples: int = 0
    passes: float = 0.0
    scored: float = 0.0
    seconds: float = 0.0
    training_seconds: float = 0.0
    peak_memory: float = 0.0
    selectable: int = 0
    """Selectable epochs so far: what patience, schedulers and racing count."""
    waited: int = 0
    """Selectable epochs since the last better one."""
    selected_epoch: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)


class Training:
    """One run of one method on one dataset.

    metric: accuracy, map or macro_f1, on validation data; its best epoch (the first of equals) is selected among those
    that the method's phases allow. patience: selectable epochs without a better value after which training ends.
    test_peak: record the best test epoch too. state: of an earlier :meth:`state_dict`, to go on from. warn: takes a
    line for the run's log. gpu_share: part of the GPU's memory that is the run's, in (0, 1].
    Raises ValueError where batches cannot be shared among the workers, or phases cannot be trained with the recipe."""

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
        gpu_share: float = 1.0,
    ) -> None:
        self._workers = workers or WorkerGroup()
        if recipe.batch_size % self._workers.size:
            raise ValueError(
                f"train.batch_size {recipe.batch_size} cannot be shared evenly among {self._workers.size} workers"
            )
        check_schedule(method.phases, recipe.schedule)
        torch.set_num_threads(recipe.threads)
        self.device = pick_device(recipe)
        set_up(self.device, recipe, gpu_share)
        self.method = placed_method(method, self.device, recipe)
        self._dataset, self._recipe = placed_dataset(dataset, self.device, gpu_share), recipe
        self._metric, self._patience, self._test_peak = metric_name("validation", metric), patience, test_peak
        ahead = reads_from_host(self._dataset, self.device)
        self._context = TrainingContext(method, self._dataset, recipe, seed, self.device, self._workers, warn, ahead)
        self._groups = self._context.groups
        self._epochs = total_epochs(method.phases)
        self._progress = _Progress()
        self._best: dict[str, Any] = {}
        self._process = psutil.Process()
        self._graphs = recorder(self.method, recipe, self.device, self._workers.size, warn)
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
            with compiled_encoders(recipe, False):
                self.method.on_fit_start(self._context)
        else:
            self.load_state_dict(state)

    # State -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that :meth:`load_state_dict` needs to go on as if never interrupted (bit-equal on a CPU)."""
        return {
            "method": self.method.state_dict(),
            "groups": self._groups.state_dict(),
            "side": self._context.side_state(),
            "progress": vars(self._progress),
            "best": self._best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        context, progress = self._context, _Progress(**state["progress"])
        self._progress = progress
        self.method.load_state_dict(state["method"])
        place = place_of(self.method.phases, max(1, progress.epoch))
        context.move_to(place)
        self._groups.load_state_dict(state["groups"], place.position)
        context.load_side_state(state["side"])
        context.budget_step, context.phase_step = progress.budget_step, progress.phase_step
        context.scored = progress.scored
        self._best = copy.deepcopy(state["best"])

    @property
    def epoch(self) -> int:
        """Count the epochs finished so far."""
        return self._progress.epoch

    # Epochs ----------------------------------------------------------------------------------------------------

    def epochs(self) -> Iterator[EpochRecord]:
        """Train the epochs that remain, one record after each. Raises DivergedError for a loss that is not finite, and
        for predictions that are no numbers."""
        while self._progress.epoch < self._epochs and not self._ended():
            with compiled_encoders(self._recipe, False):
                record = self._epoch(self._progress.epoch + 1)
            yield record

    def _ended(self) -> bool:
        progress = self._progress
        if progress.epoch == 0 or not progress.selected_epoch:
            return False
        return self.method.finished is True or (self._patience is not None and progress.waited >= self._patience)

    def _epoch(self, epoch: int) -> EpochRecord:
        started, context, progress = time.perf_counter(), self._context, self._progress
        passes = context.scored
        place = context.begin_epoch(epoch)
        learning_rate = self._groups.schedule.rate
        loss, samples = self._train()
        if not math.isfinite(loss):
            raise DivergedError(f"training loss is {loss} in epoch {epoch}")
        self.method.on_epoch_end(context)
        logged = context.logged()
        if not place.phase.holds_rate:
            self._groups.schedule.step(loss)
        trained = time.perf_counter() - started

        selectable = place.phase.may_select(place.phase_epoch)
        metrics: dict[str, float] = {}
        if selectable or place.phase.validate:
            metrics = self._validate(epoch, selectable)
        progress.epoch, progress.budget_step, progress.phase_step = epoch, context.budget_step, context.phase_step
        progress.samples += samples
        progress.scored = context.scored
        progress.passes += samples * place.phase.passes + context.scored - passes
        progress.training_seconds += trained
        progress.peak_memory = max(progress.peak_memory, self._memory())
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        return EpochRecord(
            epoch=epoch,
            epochs=self._epochs,
            phase=place.phase.name,
            selectable=progress.selectable if selectable else None,
            loss=loss,
            learning_rate=learning_rate,
            seconds=seconds,
            samples=progress.samples,
            forward_passes=progress.passes,
            samples_per_second=samples / trained,
            peak_memory_mib=progress.peak_memory,
            metrics=metrics,
            diagnostics=self.method.diagnostics() | logged | self._group_rates(),
        )

    def _train(self) -> tuple[float, int]:
        """Train an epoch's batches; return the mean loss and the number of the samples of all workers."""
        context = self._context
        graphs = self._graphs and StepGraphs(self.method, context, self._graphs)
        step = graphs.run if graphs else partial(self.method.training_step, context=context)
        losses, counts = list[Tensor](), list[int]()
        whole = self._recipe.batch_size // self._workers.size
        for batch in context.training_batches(self.method.sampler(context), self.method.drop_last):
            with compiled_encoders(self._recipe, len(batch) == whole):
                loss = step(batch)
            # The mean over a worker's share without samples is no number.
            if len(batch):
                losses.append(loss)
                counts.append(len(batch))
        total = float(torch.stack(losses).double().cpu() @ torch.tensor(counts).double()) if losses else 0.0
        joint = context.sum(torch.tensor([total, sum(counts)], dtype=torch.float64))
        return float(joint[0]) / max(1.0, float(joint[1])), int(joint[1])

    def _group_rates(self) -> dict[str, float]:
        """Name the learning rate of each group that learned, where there are several."""
        if len(self.method.groups()) == 1:
            return {}
        return {f"learning_rate_{name}": rate for name, rate in self._groups.learning_rates.items()}

    def _validate(self, epoch: int, selectable: bool) -> dict[str, float]:
        """Score the validation split, keep the weights if the epoch is the best one, let the method react."""
        context, progress, split = self._context, self._progress, self._dataset.validation
        labels = split.labels.to(self.device)
        predictions = predict_split(self.method, split, self.device, self._workers)
        predictions = self.method.amend(predictions, labels, context)
        metrics = self._score(predictions, split, "validation", epoch)
        if selectable:
            progress.selectable += 1
            progress.waited += 1
            if not progress.selected_epoch or metrics[self._metric] > progress.validation[self._metric]:
                progress.selected_epoch, progress.waited = epoch, 0
                progress.validation = metrics | score_probabilities(predictions, labels, "validation")
                keep_copies(self._best, self.method.inference_state())
            if self._test_peak:
                test = self._test_scores(epoch)
                progress.peaks = {key: max(value, progress.peaks.get(key, value)) for key, value in test.items()}
        if type(self.method).on_validation is not Method.on_validation:
            losses = {name: float(F.cross_entropy(logits, labels)) for name, logits in predictions.items()}
            self.method.on_validation(Validation(metrics, losses, predictions, labels), context)
        if self.method.finished is False:
            progress.waited = 0
        return metrics

    def _test_scores(self, epoch: int) -> dict[str, float]:
        """Score the test split with what would be kept of this epoch."""
        now = self.method.state_dict()
        own_state = type(self.method).inference_state is not Method.inference_state
        if own_state:
            now = copy.deepcopy(now)
            self.method.load_inference_state(self.method.inference_state())
        predictions = predict_split(self.method, self._dataset.test, self.device, self._workers)
        if own_state:
            self.method.load_state_dict(now)
        return self._score(predictions, self._dataset.test, "test_peak", epoch)

    def _score(self, predictions: dict[str, Tensor], split: Split, prefix: str, epoch: int) -> dict[str, float]:
        if bad := [name for name, logits in predictions.items() if bool(logits.isnan().any())]:
            raise DivergedError(f"predictions of {bad[0]} are not numbers in epoch {epoch}")
        return score(predictions, split.labels.to(self.device), self._dataset.num_classes, prefix)

    def _memory(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / MIB
        return self._process.memory_info().rss / MIB

    # The end ---------------------------------------------------------------------------------------------------

    def result(self) -> FitResult:
        """Put the selected epoch's weights back and evaluate the test split with them, once."""
        with compiled_encoders(self._recipe, False):
            return self._result()

    def _result(self) -> FitResult:
        started, progress = time.perf_counter(), self._progress
        self._groups.wake()
        self.method.load_inference_state(self._best)
        self.method.on_fit_end(self._context)
        predictions = predict_split(self.method, self._dataset.test, self.device, self._workers)
        labels = self._dataset.test.labels.to(self.device)
        test = self._score(predictions, self._dataset.test, "test", progress.selected_epoch) | progress.peaks
        test |= score_probabilities(predictions, labels, "test")
        test |= imbalance(self.method, self._dataset.test, self.device, self._workers, "test")
        shapley = imbalance(self.method, self._dataset.validation, self.device, self._workers, "validation")
        return FitResult(
            selected_epoch=progress.selected_epoch,
            epochs_trained=progress.epoch,
            validation=progress.validation | shapley,
            test=test,
            seconds=progress.seconds + time.perf_counter() - started,
            samples=progress.samples,
            forward_passes=progress.passes,
            samples_per_second=progress.samples / max(progress.training_seconds, 1e-9),
            peak_memory_mib=progress.peak_memory,
            predictions=sample_predictions(predictions, labels),
        )


def fit(method: Method, dataset: Dataset, recipe: Recipe | None = None, *, seed: int = 0, **options: Any) -> FitResult:
    """Train ``method`` for its budget and evaluate it: the loop for scripts and tests. ``options`` are those of
    :class:`Training`."""
    training = Training(method, dataset, recipe or Recipe(), seed=seed, **options)
    for _ in training.epochs():
        pass
    return training.result()


def keep_copies(kept: dict[str, Any], state: Mapping[str, Any]) -> None:
    """Make ``kept`` a copy of ``state``, in the tensors that it holds already where they are of the same kind."""
    for name in kept.keys() - state.keys():
        del kept[name]
    for name, value in state.items():
        buffer = kept.get(name)
        if isinstance(value, Tensor) and isinstance(buffer, Tensor) and _kind(buffer) == _kind(value):
            buffer.copy_(value)
        else:
            kept[name] = copy.deepcopy(value)


def _kind(values: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return values.shape, values.dtype, values.device


def _has_conv3d(method: Method) -> bool:
    return any(isinstance(module, Conv3d) for module in method.modules())
