"""Steps that are recorded and replayed: which ones, what counts, what is refused. A CPU records by the recorder of
``support.recorded_operations``; ``test_every_method`` holds each method's replays against its steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from support.hand_driven_context import ParametersAlone, hand_driven_context
from support.recorded_operations import RecordedOperations
from support.toy_dataset import toy_dataset
from torch import Tensor, nn

from data.base import Batch
from methods.base import Context
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe
from sweep.training.step_graphs import CudaGraphs, StepGraphs, recorder

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class CountedRecorder(RecordedOperations):
    """Counts what it records and what is replayed."""

    def __init__(self) -> None:
        self.recorded, self.replayed = 0, 0

    def record(self, operations: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        found, replay = super().record(operations)
        self.recorded += 1

        def counted() -> None:
            self.replayed += 1
            replay()

        return found, counted


class Fitted(ParametersAlone):
    """One number that is moved to the labels' mean, by noise of its own."""

    def __init__(self) -> None:
        super().__init__([nn.Parameter(torch.zeros(()))])
        self.run_by_python = 0

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        self.run_by_python += 1
        context.zero_grad()
        noise = context.sample_numbers("noise", 1).mean() + context.step_numbers("shift", draw_one)
        loss = (self.held[0] + noise - batch.labels.float()).square().mean()
        context.log("noise", noise)
        context.backward(loss)
        context.optimizer_step()
        return loss.detach()


class Unsteady(Fitted):
    """What it logs or reads changes from step to step."""

    def __init__(self, changes: Callable[[Context], object]) -> None:
        super().__init__()
        self._changes = changes

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        if context.step:
            self._changes(context)
        return super().training_step(batch, context)


def draw_one(random: torch.Generator) -> Tensor:
    return torch.rand((), generator=random)


def epoch(method: Fitted, samples: int = 45) -> tuple[TrainingContext, Iterator[Batch]]:
    """Begin an epoch of batches of 8; of 45 samples the last batch has 5."""
    context = hand_driven_context(method, toy_dataset(train=samples), Recipe(batch_size=8, lr=0.1))
    return context, context.training_batches(torch.arange(samples), False)


def outcome(
    method: Fitted, context: TrainingContext, losses: list[Tensor]
) -> tuple[float, list[float], object, object]:
    value = float(method.held[0].detach())
    return value, [float(loss) for loss in losses], context.logged(), (context.step, context.phase_step)


def test_replays_do_what_the_steps_of_an_epoch_do() -> None:
    stepped, replayed, counted = Fitted(), Fitted(), CountedRecorder()
    context, batches = epoch(stepped)
    expected = outcome(stepped, context, [stepped.training_step(batch, context) for batch in batches])
    context, batches = epoch(replayed)
    steps = StepGraphs(replayed, context, counted)
    assert outcome(replayed, context, [steps.run(batch) for batch in batches]) == expected
    assert expected[3] == (6, 6)
    # The first of 8 samples and the one of 5 as ever, one of 8 to be recorded; it and the three after it are replayed.
    assert (replayed.run_by_python, counted.recorded, counted.replayed) == (3, 1, 4)


def test_recording_changes_nothing() -> None:
    method = Fitted()
    context, batches = epoch(method)
    batch = next(batches)
    method.training_step(batch, context)
    next(batches)
    before = outcome(method, context, [])
    StepGraphs(method, context, RecordedOperations())._record(batch)
    assert outcome(method, context, []) == before


def test_the_losses_of_replays_stay_as_they_were() -> None:
    method = Fitted()
    context, batches = epoch(method)
    steps = StepGraphs(method, context, RecordedOperations())
    losses = [steps.run(batch) for batch in batches]
    assert len({float(loss) for loss in losses}) == len(losses)


def test_each_form_of_batches_has_a_recording_of_its_own() -> None:
    method, counted = Fitted(), CountedRecorder()
    context, batches = epoch(method, 48)
    steps = StepGraphs(method, context, counted)
    forms = itertools.cycle([lambda b: b, lambda b: b.at(slice(4)), lambda b: replace(b, tag=b.labels)])
    for form, batch in zip(forms, batches, strict=False):
        steps.run(form(batch))
    assert (method.run_by_python, counted.recorded, counted.replayed) == (6, 3, 3)


def test_batches_in_which_samples_lack_modalities_are_trained_on_as_ever() -> None:
    method, counted = Fitted(), CountedRecorder()
    context, batches = epoch(method)
    steps = StepGraphs(method, context, counted)
    for batch in batches:
        steps.run(replace(batch, present={"audio": batch.labels > 0}))
    assert (method.run_by_python, counted.recorded) == (6, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (lambda context: context.log("late", 1.0), "logs 'late', which the one before did not"),
        (lambda context: context.sample_numbers("late", 1), "asks for the numbers 'late', which the one before"),
        (lambda context: bool(torch.ones(()) > 0), "reads a number of the device"),
    ],
    ids=["logs", "draws", "reads"],
)
def test_a_step_that_cannot_be_recorded_is_refused(changes: Callable[[Context], object], said: str) -> None:
    method = Unsteady(changes)
    context, batches = epoch(method)
    steps = StepGraphs(method, context, RecordedOperations())
    steps.run(next(batches))
    with pytest.raises(RuntimeError, match=rf"a step of parameters-alone cannot be recorded: .*{said}.* without train"):
        steps.run(next(batches))


# Which runs --------------------------------------------------------------------------------------------------------


class Capturable(Fitted):
    capturable = True


@pytest.mark.parametrize(
    ("method", "asked", "device", "workers", "warned"),
    [
        (Capturable(), True, CUDA, 1, None),
        (Capturable(), False, CUDA, 1, None),
        (Capturable(), True, CPU, 1, None),
        (Fitted(), True, CUDA, 1, "parameters-alone does not allow it"),
        (Capturable(), True, CUDA, 2, "workers exchange gradients in them"),
    ],
    ids=["records", "not-asked", "cpu", "method", "workers"],
)  # fmt: skip
def test_steps_are_recorded_where_recipe_device_method_and_workers_allow_it(
    method: Fitted,
    asked: bool,
    device: torch.device,
    workers: int,
    warned: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CudaGraphs, "__init__", lambda self: None)
    warnings = list[str]()
    found = recorder(method, Recipe(cuda_graphs=asked), device, workers, warnings.append)
    assert isinstance(found, CudaGraphs) == (asked and device == CUDA and warned is None)
    assert warnings == ([] if warned is None else [f"train.cuda_graphs: steps run one by one, for {warned}"])
