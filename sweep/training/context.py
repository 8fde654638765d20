"""The Context that the training loop hands to a method: see ``methods.base.Context`` for what each name promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from data.base import Batch, Dataset, Split
from data.base.placement import moved
from methods.base import Method
from methods.base.phase import Phase, Place, place_of
from sweep.training import seeds
from sweep.training.epoch_means import EpochMeans
from sweep.training.epoch_plan import Step, epoch_steps, stratified_share
from sweep.training.gradient_buckets import GradientBuckets
from sweep.training.optimizers import counting_options, optimizer_kind
from sweep.training.parameter_groups import ParameterGroups
from sweep.training.read_ahead import read_ahead
from sweep.training.recipe import Recipe
from sweep.training.step_numbers import AHEAD_BYTES, RecordedNumbers, StepNumbers
from sweep.training.workers import WorkerGroup, worker_slice


class TrainingContext:
    """The context of one run on one worker. ``dataset`` has its splits where the recipe keeps them (host or device).
    reads_ahead: whether a thread makes the next training batch ready while a step runs."""

    phase: Phase
    phase_epoch: int
    epoch: int
    epochs: int

    def __init__(
        self,
        method: Method,
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        workers: WorkerGroup,
        warn: Callable[[str], None],
        reads_ahead: bool = False,
    ) -> None:
        self.device, self.seed, self._method = device, seed, method
        self.batch_size, self.train_size = recipe.batch_size, len(dataset.train)
        self.workers, self.rank, self.world_size = workers, workers.rank, workers.size
        self.groups = ParameterGroups(method, recipe)
        self._buckets = GradientBuckets(workers)
        self._normalises = any(isinstance(module, _BatchNorm) for module in method.modules())
        self._recipe, self._augment, self._train, self._validation = (
            recipe,
            dataset.augment,
            dataset.train,
            dataset.validation,
        )
        self._warn, self._warned, self._reads_ahead = warn, set[str](), reads_ahead
        self._side: dict[str, torch.optim.Optimizer] = {}
        self._side_states: dict[str, Any] = {}
        self.budget_step = 0
        """Steps of the phases in the budget."""
        self.phase_step = 0
        """Steps of the present phase."""
        self.scored = 0.0
        """Forward passes of training samples outside training steps (scoring passes, hyper-batches), all workers'."""
        self.move_to(place_of(method.phases, 1))
        self.held_out = torch.empty(0, dtype=torch.int64)
        if method.holdout:
            drawn = seeds.generator(seed, "held out")
            self.held_out = stratified_share(dataset.train.labels.cpu(), method.holdout, drawn)
        self._steps: list[Step] = []
        self._step = Step(0, workers.size, [1] * workers.size)
        self._rows = slice(0, 1)
        self._begin_epoch(0)

    # Where training stands -------------------------------------------------------------------------------------

    def begin_epoch(self, epoch: int) -> Place:
        """Bring method, groups and optimizers to where an epoch of the loop begins, from 1; tell where that lies."""
        place = place_of(self._method.phases, epoch)
        self.move_to(place)
        seeds.seed_default(self.generator("noise", place.epoch, self.rank).initial_seed(), self.device)
        if place.phase_epoch == 1:
            self.phase_step = 0
            self.groups.enter(place.position)
        # Once for the scoring passes of the hooks, and once after them: they may change rates and make modules.
        self.groups.refresh()
        if place.phase_epoch == 1:
            self._method.on_phase_start(self)
        self._method.on_epoch_start(self)
        self.groups.refresh()
        return place

    def move_to(self, place: Place) -> None:
        """Take note of where the next epoch lies."""
        self.phase, self.phase_epoch, self.epoch, self.epochs = (
            place.phase,
            place.phase_epoch,
            place.epoch,
            place.epochs,
        )

    @property
    def step(self) -> int:
        return self.budget_step if self.phase.budget else self.phase_step

    @property
    def steps_in_epoch(self) -> int:
        return len(self._steps)

    @property
    def samples_in_step(self) -> int:
        return self._step.size

    @property
    def offset(self) -> int:
        return self._step.part(self.rank).start

    @property
    def rates(self) -> dict[str, float]:
        return self.groups.rates

    def _begin_epoch(self, samples: int) -> None:
        self._numbers = StepNumbers(self.device, self.generator, self.epoch, samples)
        self._last_step = self.step + len(self._steps) - 1
        self._means = EpochMeans(self.device, self.workers)
        self._recorded = RecordedNumbers()

    # Batches ---------------------------------------------------------------------------------------------------

    def train_batches(
        self,
        size: int | None = None,
        *,
        augment: bool = False,
        index: Tensor | None = None,
        shard: bool = True,
        passes: float = 1.0,
    ) -> Iterator[Batch]:
        if index is None:
            index = torch.arange(self.train_size)
            if len(self.held_out):
                index = index[~torch.isin(index, self.held_out)]
        index = index.cpu()
        placed = moved(index, self.device)
        size = size or self.batch_size
        for number, start in enumerate(range(0, len(index), size)):
            joint = slice(start, min(start + size, len(index)))
            count = joint.stop - start
            mine = worker_slice(count, self.world_size, self.rank) if shard else slice(0, count)
            self.scored += count * passes
            stream = ("scoring", number) if augment else None
            yield self._gather(self._train, index[joint], mine, placed[start + mine.start : start + mine.stop], stream)

    def validation_batches(self, size: int | None = None, *, shard: bool = True) -> Iterator[Batch]:
        for joint in torch.arange(len(self._validation)).split(size or self.batch_size):
            mine = worker_slice(len(joint), self.world_size, self.rank) if shard else slice(None)
            yield self._validation.gather(joint[mine], self.device)

    def training_batches(self, shown: Tensor | tuple[Tensor, Tensor], drop_last: bool) -> Iterator[Batch]:
        """Yield this worker's part of each joint batch of an epoch, augmented; set what ``mean`` and ``backward`` weigh
        by. shown: what the method's sampler gave.

        Raises ValueError where that leaves no batch."""
        order, tags = shown if isinstance(shown, tuple) else (shown, None)
        order = order.cpu()
        self._steps = epoch_steps(len(order), self.batch_size, self.world_size, drop_last)
        self._begin_epoch(len(order))
        if self._normalises and self._steps and self._steps[-1].size == 2 < self.batch_size:
            self.warn(
                "the last batch of an epoch has two samples, of which batch norm makes -1 and 1 whatever they are: "
                "choose another train.batch_size"
            )
        # Moved once: a step that moved its part would wait for the device.
        placed = moved(order, self.device)
        placed_tags = None if tags is None else moved(tags.cpu(), self.device)
        epoch = self._train.gather(order, self.device, placed) if self._gathers_ahead(len(order)) else None

        def read(number: int) -> Batch:
            step = self._steps[number]
            joint, rows = order[step.start : step.start + step.size], self._rows_of(step)
            if epoch is not None:
                batch = epoch.at(rows)
            else:
                batch = self._gather(self._train, joint, step.part(self.rank), placed[rows], ("augmentation", number))
            return batch if placed_tags is None else replace(batch, tag=placed_tags[rows])

        count = len(self._steps)
        ahead = self._reads_ahead and epoch is None
        batches = read_ahead(read, count, self.device) if ahead else map(read, range(count))
        for step, batch in zip(self._steps, batches, strict=True):
            self._means.end_step()
            self._step, self._rows = step, self._rows_of(step)
            yield batch

    def _rows_of(self, step: Step) -> slice:
        """Give the places of this worker's samples of a step in the order of the epoch."""
        mine = step.part(self.rank)
        return slice(step.start + mine.start, step.start + mine.stop)

    def _gathers_ahead(self, samples: int) -> bool:
        """Tell whether the samples of an epoch are gathered at once: few bytes that nothing augments."""
        columns = self._train.inputs.values()
        if self._augment is not None or not all(isinstance(values, Tensor) for values in columns):
            return False
        return samples * self._train.nbytes <= AHEAD_BYTES * len(self._train)

    def _gather(
        self, split: Split, joint: Tensor, mine: slice, placed: Tensor, stream: tuple[str, int] | None
    ) -> Batch:
        """Gather this worker's part of a joint batch; ``placed`` is the part's index on the device."""
        if stream is None:
            return split.gather(joint[mine], self.device, placed)
        name, number = stream

        def streams(column: str) -> torch.Generator:
            return self.generator(f"{name} of {column}", self.epoch, number)

        if self._augment is None:
            return split.draw(joint, self.device, streams, mine, placed)
        # Augmenting the joint batch and keeping one's part lets any number of workers draw the same numbers.
        whole = split.draw(joint, self.device, streams)
        inputs = self._augment(whole.inputs, self.generator(name, self.epoch, number))
        return replace(replace(whole, inputs=inputs).at(mine), index=placed)

    @contextmanager
    def recording(self) -> Iterator[RecordedEffects]:
        """Let one step be recorded inside, which must end by :meth:`RecordedEffects.end`: nothing counts until it is
        replayed."""
        before, phase_before = self.budget_step, self.phase_step
        with self._recorded.in_buffers() as fill:
            effects = RecordedEffects(self, fill)
            yield effects
        effects.steps = self.budget_step - before, self.phase_step - phase_before
        self.budget_step, self.phase_step = before, phase_before

    # Gradients -------------------------------------------------------------------------------------------------

    def autocast(self) -> AbstractContextManager[object]:
        if self._recipe.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def zero_grad(self) -> None:
        for parameter in self.groups.parameters:
            parameter.grad = None

    def backward(self, loss: Tensor) -> None:
        counts = self._step.counts[self.rank] > 0
        weight = self._weight()
        self._buckets.backward(loss if weight == 1 else loss * weight, self.groups.parameters, counts)

    def gradients(self, loss: Any, parameters: Sequence[nn.Parameter]) -> Any:
        losses = [loss] if isinstance(loss, Tensor) else list(loss)
        weight = self._weight()
        found = self.workers.averaged_gradients([each * weight for each in losses], parameters, weight > 0)
        return found[0] if isinstance(loss, Tensor) else found

    def _weight(self) -> float:
        """Compute this worker's fraction of the samples in the joint batch, times the number of workers."""
        return self._step.counts[self.rank] * self.world_size / sum(self._step.counts)

    def optimizer_step(self, *, clipped: bool = False) -> None:
        limit = self._recipe.gradient_clip
        if clipped and limit is not None:
            self.warn(f"{self._method.name} clips gradients itself, in the place of train.gradient_clip: {limit:g}")
        elif limit is not None:
            apart = self._method.clips_apart
            for parameters in self.groups.by_group.values() if apart else [self.groups.parameters]:
                nn.utils.clip_grad_norm_(parameters, limit)
        if self.groups.optimizer is not None:
            self.groups.optimizer.step()
        self.phase_step += 1
        self.budget_step += int(self.phase.budget)

    def forget_momentum(self, parameters: Sequence[nn.Parameter]) -> None:
        self.groups.forget(parameters)

    # Side optimizers -------------------------------------------------------------------------------------------

    def side_optimizer(
        self, name: str, parameters: Sequence[nn.Parameter], kind: str = "sgd", **options: Any
    ) -> torch.optim.Optimizer:
        if name not in self._side:
            options |= counting_options(kind, parameters, self._recipe)
            self._side[name] = optimizer_kind(kind)(list(parameters), **options)
            if name in self._side_states:
                self._side[name].load_state_dict(self._side_states.pop(name))
        return self._side[name]

    def side_state(self) -> dict[str, Any]:
        """Return the state of all side optimizers, those not asked for since a resume too."""
        return self._side_states | {name: optimizer.state_dict() for name, optimizer in self._side.items()}

    def load_side_state(self, state: dict[str, Any]) -> None:
        """Keep the state of side optimizers until a method asks for them."""
        self._side, self._side_states = {}, dict(state)

    # Workers ---------------------------------------------------------------------------------------------------

    def mean(self, value: Tensor) -> Tensor:
        if self.world_size == 1:
            return value.detach()
        # A worker without samples has no mean: NaN, which times its weight of 0 would be NaN still.
        part = value * self._weight() if self._step.counts[self.rank] else torch.zeros_like(value)
        return self.workers.sum(part) / self.world_size

    def sum(self, value: Tensor) -> Tensor:
        return self.workers.sum(value)

    def gather(self, value: Tensor) -> Tensor:
        return self.workers.gather(value, self._step.counts)

    def gather_rows(self, value: Tensor) -> Tensor:
        value = value.detach()
        if self.world_size == 1:
            return value
        return self.workers.gather(value, self.workers.counts(len(value), value.device))

    def broadcast(self, value: Tensor) -> Tensor:
        return self.workers.broadcast(value)

    # Randomness and messages -----------------------------------------------------------------------------------

    def generator(self, name: str, *keys: int) -> torch.Generator:
        # Phases beside the budget count from 1 again: without their name they would draw the numbers of the budget's.
        stream = name if self.phase.budget else f"{name} in {self.phase.name}"
        return seeds.generator(self.seed, stream, *keys)

    def sample_numbers(self, name: str, columns: int) -> Tensor:
        return self._recorded.give(name, lambda: self._numbers.of_samples(name, columns, self._rows))

    def step_numbers(self, name: str, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return self._recorded.give(name, lambda: self._numbers.of_step(name, self.step, self._last_step, draw))

    def device_generator(self, name: str, *keys: int) -> torch.Generator:
        seed = self.generator(name, *keys).initial_seed()
        return torch.Generator(self.device).manual_seed(seed)

    def log(self, name: str, value: Tensor | float) -> None:
        self._means.set(name, value, self._step.counts[self.rank])

    def logged(self) -> dict[str, float]:
        """Read the means of what was logged since the epoch's first step."""
        return self._means.values()

    def warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)


class RecordedEffects:
    """What a recorded step does beside its operations on the device: numbers that it reads, steps and samples that it
    counts."""

    def __init__(self, context: TrainingContext, fill: Callable[[], None]) -> None:
        self._context, self.prepare = context, fill
        self.steps = 0, 0
        """Steps of the budget, and of the phase."""

    def end(self) -> None:
        """End the step, within the recording."""
        self._count_samples = self._context._means.end_recorded_step()

    def count(self) -> None:
        """Count one replay."""
        self._count_samples()
        self._context.budget_step += self.steps[0]
        self._context.phase_step += self.steps[1]
