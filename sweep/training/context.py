"""The Context that the training loop hands to a method: see ``methods.base.Context`` for what each name promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from data.base import Batch, Dataset, Split
from sweep.training import seeds
from sweep.training.optimizers import Schedule, build_optimizer, build_schedule
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup, worker_slice


class TrainingContext:
    """The context of one run on one worker. ``train`` is the training split, where the recipe keeps it (host or
    device)."""

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        workers: WorkerGroup,
        warn: Callable[[str], None],
    ) -> None:
        self.device, self.seed, self.epoch, self.epochs, self.step = device, seed, 0, 0, 0
        self.batch_size, self.train_size = recipe.batch_size, len(dataset.train)
        self.workers, self.rank, self.world_size = workers, workers.rank, workers.size
        self.optimizer: torch.optim.Optimizer
        self.schedule: Schedule
        self._recipe, self._augment, self._train = recipe, dataset.augment, dataset.train
        self._warn, self._warned = warn, set[str]()
        self._counts = [1] * workers.size
        self.scored = 0.0
        """Forward passes of training samples outside training steps (scoring passes, hyper-batches), all workers'."""

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
        order = torch.arange(self.train_size) if index is None else index.cpu()
        for number, joint in enumerate(order.split(size or self.batch_size)):
            mine = worker_slice(len(joint), self.world_size, self.rank) if shard else slice(None)
            self.scored += len(joint) * passes
            yield self._gather(self._train, joint, mine, ("scoring", number) if augment else None)

    def training_batches(self, order: Tensor, drop_last: bool) -> Iterator[Batch]:
        """Yield this worker's part of each joint batch of an epoch, augmented; set what ``mean`` and ``backward`` weigh
        by.

        Raises ValueError where that leaves no batch, or a worker without a sample."""
        last = len(order) % self.batch_size
        if not drop_last and 0 < last < self.world_size:
            raise ValueError(
                f"the last batch of {len(order)} training samples in batches of {self.batch_size} has {last}, "
                f"fewer than {self.world_size} workers: choose another train.batch_size"
            )
        if drop_last and len(order) < self.batch_size:
            raise ValueError(
                f"{len(order)} training samples give no whole batch of {self.batch_size}, and this method drops "
                "incomplete ones: choose a smaller train.batch_size"
            )
        for number, joint in enumerate(order.cpu().split(self.batch_size)):
            if drop_last and len(joint) < self.batch_size:
                return
            parts = [worker_slice(len(joint), self.world_size, rank) for rank in range(self.world_size)]
            self._counts = [part.stop - part.start for part in parts]
            yield self._gather(self._train, joint, parts[self.rank], ("augmentation", number))

    def _gather(self, split: Split, joint: Tensor, mine: slice, stream: tuple[str, int] | None) -> Batch:
        if stream is None:
            return split.gather(joint[mine], self.device)
        name, number = stream

        def streams(column: str) -> torch.Generator:
            return self.generator(f"{name} of {column}", self.epoch, number)

        if self._augment is None:
            return split.draw(joint, self.device, streams, mine)
        # Augmenting the joint batch and keeping one's part lets any number of workers draw the same numbers.
        whole = split.draw(joint, self.device, streams)
        inputs = self._augment(whole.inputs, self.generator(name, self.epoch, number))
        return Batch({m: x[mine] for m, x in inputs.items()}, whole.labels[mine], whole.index[mine])

    # Gradients -------------------------------------------------------------------------------------------------

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._recipe.precision == "bf16")

    def backward(self, loss: Tensor) -> None:
        held = [(p, p.grad) for p in self._parameters() if p.grad is not None] if self.world_size > 1 else []
        for parameter, _ in held:
            parameter.grad = None
        (loss * self._weight()).backward()
        if self.world_size == 1:
            return
        self.workers.average_gradients([p.grad for p in self._parameters() if p.grad is not None])
        for parameter, before in held:
            parameter.grad = before if parameter.grad is None else before + parameter.grad

    def gradients(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        found = torch.autograd.grad(loss * self._weight(), parameters, retain_graph=True, allow_unused=True)
        full = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        self.workers.average_gradients(full)
        return full

    def _parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _weight(self) -> float:
        """Compute this worker's fraction of the samples in the joint batch, times the number of workers."""
        return self._counts[self.rank] * self.world_size / sum(self._counts)

    def optimizer_step(self) -> None:
        if self._recipe.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._parameters(), self._recipe.gradient_clip)
        self.optimizer.step()
        self.step += 1

    def add_parameters(self, parameters: Sequence[nn.Parameter]) -> None:
        # Into the one group there is, so that a resumed run, whose optimizer is built over ``trained_parameters``, can
        # load this optimizer's state.
        self.optimizer.param_groups[0]["params"].extend(parameters)

    def new_optimizer(self, parameters: Sequence[nn.Parameter], epochs: int) -> None:
        self.optimizer = build_optimizer(parameters, self._recipe)
        self.schedule = build_schedule(self.optimizer, self._recipe.schedule, epochs)

    # Workers ---------------------------------------------------------------------------------------------------

    def mean(self, value: Tensor) -> Tensor:
        return value.detach() if self.world_size == 1 else self.workers.sum(value * self._weight()) / self.world_size

    def sum(self, value: Tensor) -> Tensor:
        return self.workers.sum(value)

    def gather(self, value: Tensor) -> Tensor:
        return self.workers.gather(value, self._counts)

    def gather_rows(self, value: Tensor) -> Tensor:
        value = value.detach()
        if self.world_size == 1:
            return value
        return self.workers.gather(value, self.workers.counts(len(value), value.device))

    def broadcast(self, value: Tensor) -> Tensor:
        return self.workers.broadcast(value)

    # Randomness and messages -----------------------------------------------------------------------------------

    def generator(self, name: str, *keys: int) -> torch.Generator:
        return seeds.generator(self.seed, name, *keys)

    def warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._warn(message)
