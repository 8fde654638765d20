"""Training steps that are recorded once and replayed as a whole, which a GPU does without waiting for Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from data.base import Batch
from methods.base import Method
from sweep.training.context import RecordedEffects, TrainingContext
from sweep.training.recipe import Recipe

Form = tuple[Any, ...]


class Recorder(Protocol):
    """Records operations on tensors of a device without doing them."""

    def record(self, operations: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Return the tensor that ``operations`` give, and what does them: again and again, in the same memory."""


class CudaGraphs:
    """A :class:`Recorder` of a GPU. All recordings of a run share memory: what they leave behind is not read again once
    another one is replayed."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()
        self._last: torch.cuda.CUDAGraph | None = None

    def record(self, operations: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        graph, present = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            # Not torch.cuda.graph, which collects garbage and empties the cache. Other threads may go on meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                found = operations()
            finally:
                graph.capture_end()
        present.wait_stream(self._stream)
        # The pool lives as long as one of its graphs.
        self._last = graph
        return found, graph.replay


@dataclass(frozen=True)
class RecordedStep:
    """A step on the samples in ``batch``, whose loss lies in ``loss`` after each replay."""

    batch: Batch
    loss: Tensor
    effects: RecordedEffects
    replay: Callable[[], None]

    def run(self, batch: Batch) -> Tensor:
        """Run the step on a batch of the same form; return its loss (0-d)."""
        torch._foreach_copy_(self.batch.tensors, batch.tensors)
        self.effects.prepare()
        self.replay()
        self.effects.count()
        return self.loss.clone()


class StepGraphs:
    """The steps of one epoch of a method whose steps are ``capturable``. Of the batches of one form (names, sizes and
    types of the tensors) the first is trained on as ever, which makes whatever a first step makes; the second is
    recorded. Batches in which samples lack modalities are all trained on as ever."""

    def __init__(self, method: Method, context: TrainingContext, recorder: Recorder) -> None:
        self._method, self._context, self._recorder = method, context, recorder
        self._recorded: dict[Form, RecordedStep | None] = {}

    def run(self, batch: Batch) -> Tensor:
        """Train on one batch. Returns the detached loss (0-d), as ``Method.training_step``."""
        if batch.present:
            # What samples lack decides which operations there are.
            return self._method.training_step(batch, self._context)
        form = _form(batch)
        if form not in self._recorded:
            self._recorded[form] = None
            return self._method.training_step(batch, self._context)
        step = self._recorded[form]
        if step is None:
            step = self._recorded[form] = self._record(batch)
        return step.run(batch)

    def _record(self, batch: Batch) -> RecordedStep:
        own = batch.changed(torch.clone)
        with self._context.recording() as effects:

            def operations() -> Tensor:
                loss = self._method.training_step(own, self._context)
                effects.end()
                return loss

            try:
                loss, replay = self._recorder.record(operations)
            except Exception as error:
                name = self._method.name
                raise RuntimeError(
                    f"a step of {name} cannot be recorded: {error}; train it without train.cuda_graphs"
                ) from error
        return RecordedStep(own, loss, effects, replay)


def _form(batch: Batch) -> Form:
    kinds = tuple((values.shape, values.dtype) for values in batch.tensors)
    return tuple(batch.inputs), batch.tag is None, kinds


def recorder(
    method: Method, recipe: Recipe, device: torch.device, workers: int, warn: Callable[[str], None]
) -> Recorder | None:
    """Give what records the steps of a run where its recipe asks for that and its device can; None for steps as ever.
    Warns where the method or the number of workers does not allow it."""
    if not recipe.cuda_graphs or device.type != "cuda":
        return None
    if not method.capturable or workers > 1:
        why = f"{method.name} does not allow it" if not method.capturable else "workers exchange gradients in them"
        warn(f"train.cuda_graphs: steps run one by one, for {why}")
        return None
    return CudaGraphs()
