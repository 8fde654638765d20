"""Every promise of a method, checked for each method by its existence.

N workers equal one, a resumed run equals an uninterrupted one, both precisions train, prediction needs no labels,
accuracy rises above chance. ``tests/methods/test_NAME.py`` declares the variants; ``-k NAME`` trains one method."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from support.device_waits import META, autocast_that_knows_meta, counted_waits
from support.equality import assert_close, assert_same, explained
from support.hand_driven_context import hand_driven_context
from support.method_variants import DEFAULTS, Variant, declared_variants, first_of_each_path
from support.recorded_operations import RecordedOperations
from support.toy_dataset import CLASSES, toy_dataset, toy_method
from support.variant_runs import ToyRun, clearly_above_chance, load_training, run, training
from support.worker_processes import Workers

import methods
from data.base import Batch
from sweep.training import context as of_contexts
from sweep.training import loop
from sweep.training.epoch_record import EpochRecord
from sweep.training.loop import Training
from sweep.training.metrics import predict_split, score
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup

VARIANTS = [variant for name in methods.names() for variant in declared_variants(name)]
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
every_default = pytest.mark.parametrize("variant", [v for v in VARIANTS if v.name == DEFAULTS], ids=str)
every_path = pytest.mark.parametrize("variant", first_of_each_path(VARIANTS), ids=str)

UNLIKE_EACH_OTHER = (
    "The two workers hold different numbers. Usually a worker keeps something that it drew by itself, or computed of "
    "its part of the batch: draw from context.generator(name, ...), make one number of the parts by context.mean, "
    "context.sum or context.gather."
)
UNLIKE_ONE = (
    "Two workers agree with each other, but not with one. Usual causes: random numbers that are not from "
    "context.generator, or whose keys or count depend on the worker; a statistic of the batch (a mean, a "
    "normalisation, samples that are compared with each other) that each worker takes of its own part: average it by "
    "context.mean or context.sum, or gather the rows by context.gather. A variant that is meant to differ says so in "
    "Method.world_size_matters."
)


@pytest.fixture(autouse=True, scope="module")
def _training_is_loaded() -> None:
    load_training()


@pytest.fixture(autouse=True, scope="module")
def _meta_tensors_are_loaded() -> None:
    """Torch imports what it needs for them with the first that is indexed, which is no method's expense."""
    place = torch.zeros(1, dtype=torch.long, device=META)
    torch.zeros(1, device=META)[place]


@pytest.fixture
def warm_workers(two_workers: Workers) -> Workers:
    """The two workers, started and loaded before the test, whose seconds count: anew where the last test failed."""
    two_workers.run(load_training)
    return two_workers


@pytest.fixture
def warm_three_workers(three_workers: Workers) -> Workers:
    """Three workers, as :func:`warm_workers`."""
    three_workers.run(load_training)
    return three_workers


@pytest.fixture(scope="module")
def warm_meta() -> None:
    """Let torch import what its first operations on the device meta import, which takes longer than a toy training."""
    (torch.arange(2.0, device=META) >= 1).float()


@functools.cache
def run_of_one_worker(variant: Variant) -> ToyRun:
    return run(variant)


# Workers -------------------------------------------------------------------------------------------------------


@every_path
def test_two_workers_follow_one(variant: Variant, warm_workers: Workers) -> None:
    first, second = warm_workers.run(run, variant)
    end, other_end = first.state(-1), second.state(-1)
    with explained(UNLIKE_EACH_OTHER):
        for key in ("method", "best"):
            assert_same(other_end[key], end[key], key)
        for one, other in zip(second.records, first.records, strict=True):
            assert_same((one.loss, one.metrics), (other.loss, other.metrics), f"epoch {one.epoch}")
        assert_same(second.test, first.test, "test")
    kind = methods.get(variant.method)
    if kind.world_size_matters(kind.Hyperparameters.model_validate(variant.hyperparameters)):
        return  # exempt: alike on every worker, but not what one worker does
    alone = run_of_one_worker(variant)
    with explained(UNLIKE_ONE):
        for one, other in zip(first.records, alone.records, strict=True):
            assert_close((one.loss, one.samples), (other.loss, other.samples), f"epoch {one.epoch}")
            assert_close(one.diagnostics, other.diagnostics, f"epoch {one.epoch}")
        end_alone = alone.state(-1)
        for key in ("method", "best"):
            assert_close(end[key], end_alone[key], key)


@every_default
def test_three_workers_of_which_one_has_no_sample_follow_one(variant: Variant, warm_three_workers: Workers) -> None:
    """The last joint batch has two samples."""
    kind = methods.get(variant.method)
    if kind.world_size_matters(kind.Hyperparameters.model_validate(variant.hyperparameters)):
        return
    shares = {"samples": 38, "batch_size": 18}
    alone = run(variant, **shares)
    for worker in warm_three_workers.run(functools.partial(run, variant, **shares)):
        with explained(UNLIKE_ONE):
            for one, other in zip(worker.records, alone.records, strict=True):
                assert_close((one.loss, one.samples), (other.loss, other.samples), f"epoch {one.epoch}")
                assert_close(one.diagnostics, other.diagnostics, f"epoch {one.epoch}")
            assert_close(worker.state(-1)["method"], alone.state(-1)["method"], "method")


# Resuming ------------------------------------------------------------------------------------------------------


@every_path
def test_resumed_run_equals_an_uninterrupted_one(variant: Variant) -> None:
    """Stopped after the first epoch, and again before the last."""
    whole = run_of_one_worker(variant)
    state, records = whole.state(0), whole.records[:1]
    before_last = [len(whole.records) - 2] if len(whole.records) > 2 else []
    for epochs in (*before_last, None):
        resumed = run(variant, state, epochs)
        state = resumed.state(-1)
        records += resumed.records
    for one, other in zip(records, whole.records, strict=True):
        numbers = [
            (r.epoch, r.loss, r.samples, r.forward_passes, r.learning_rate, r.metrics, r.diagnostics)
            for r in (one, other)
        ]
        assert_same(*numbers, f"epoch {other.epoch}")
    end = whole.state(-1)
    for key in ("method", "best"):
        assert_same(state[key], end[key], key)
    assert_same(resumed.test, whole.test, "test")


# Training ------------------------------------------------------------------------------------------------------


@every_variant
def test_training_beats_chance(variant: Variant) -> None:
    last = last_record_of_finite_training(training(variant, variant.epochs_to_learn, test_peak=False))
    samples = len(toy_dataset(variant.modalities).validation)
    assert last.metrics["validation_accuracy"] > clearly_above_chance(CLASSES, samples)


@every_variant
def test_trains_in_half_precision(variant: Variant) -> None:
    last_record_of_finite_training(training(variant, epochs=2, precision="bf16", test_peak=False))


def last_record_of_finite_training(trained: Training) -> EpochRecord:
    """Train to the end, and see that no loss and no parameter is infinite or no number."""
    records = list(trained.epochs())
    assert all(math.isfinite(record.loss) for record in records)
    assert all(value.isfinite().all() for value in trained.method.parameters())
    return records[-1]


@pytest.mark.usefixtures("warm_meta")
@every_variant
def test_a_step_never_waits_for_the_device(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first step of an epoch, which draws its numbers, nothing is read off the device or copied to it."""
    dataset, recipe = toy_dataset(variant.modalities), Recipe(batch_size=16)
    method = toy_method(variant.method, dataset, variant.hyperparameters, variant.epochs)
    before = hand_driven_context(method, dataset, recipe)
    before.begin_epoch(1)
    order = torch.arange(len(dataset.train))
    # As on a GPU: the parameters stay the same objects, of which a method may have made lists.
    monkeypatch.setattr(torch.__future__, "_swap_module_params_on_conversion", True)
    method, dataset = method.to(META), replace(dataset, train=dataset.train.to(META))
    # Held out by labels, which only the host can read: before there is a step.
    monkeypatch.setattr(type(method), "holdout", 0.0)
    context = hand_driven_context(method, dataset, recipe, device=META)
    context.held_out = before.held_out
    batches = context.training_batches(order, method.drop_last)
    with autocast_that_knows_meta():
        method.training_step(next(batches), context)
        with counted_waits() as waits:
            method.training_step(next(batches), context)
    assert sum(waits.values()) <= method.reads_in_a_step, dict(waits)


@every_path
def test_replays_of_a_recorded_step_do_what_steps_do(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a method says that its steps are capturable: on batches of 16, of 69 samples."""
    if not training(variant, 1).method.capturable:
        return
    # By itself Adam counts its steps on the host of a CPU.
    monkeypatch.setattr(of_contexts, "counting_options", lambda kind, *_: {} if kind == "sgd" else {"fused": True})
    found = []
    for recorder in (None, RecordedOperations()):
        monkeypatch.setattr(loop, "recorder", lambda *_, given=recorder: given)
        trained = training(variant, 2, samples=69)
        records = [(r.loss, r.samples, r.metrics, r.diagnostics) for r in trained.epochs()]
        found.append((records, trained.state_dict()["method"]))
    assert_same(*found, "replayed")


@every_path
def test_what_stands_in_the_place_of_an_absent_modality_does_not_matter(variant: Variant) -> None:
    """A sample that lacks a modality holds any numbers there; training does not see them."""
    dataset = toy_dataset(variant.modalities)
    states = []
    for garbage in (0.0, 3.0):
        method = toy_method(variant.method, dataset, variant.hyperparameters, variant.epochs)
        if method.hyperparameters.mixes_channels is not None:
            pytest.skip("refused: encoders see each other's inputs")
        context = hand_driven_context(method, dataset, Recipe(batch_size=16))
        method.on_fit_start(context)
        context.begin_epoch(1)
        for batch in islice(context.training_batches(torch.arange(45), method.drop_last), 2):
            there = torch.arange(len(batch)) % 3 != 0
            video = batch.inputs["video"].where(there[:, None], garbage)
            method.training_step(
                replace(batch, inputs=batch.inputs | {"video": video}, present={"video": there}), context
            )
        states.append({name: p.detach().clone() for name, p in method.named_parameters()})
    assert_same(*states, "parameters")


# Prediction ----------------------------------------------------------------------------------------------------


@every_variant
def test_prediction_reads_no_labels(variant: Variant) -> None:
    dataset = toy_dataset(variant.modalities)
    method = toy_method(variant.method, dataset, variant.hyperparameters).eval()
    batch = dataset.test.gather(torch.arange(5))
    predicted = method.predict(batch)
    assert set(predicted) <= {"multi", *dataset.modalities}
    assert "multi" in predicted
    other = method.predict(Batch(batch.inputs, (batch.labels + 1) % CLASSES, batch.index))
    for key, logits in predicted.items():
        assert logits.shape == (5, CLASSES)
        assert torch.equal(logits, other[key])
        # A sample's prediction must not depend on its batch mates.
        alone = method.predict(dataset.test.gather(torch.tensor([2])))[key]
        torch.testing.assert_close(alone[0], logits[2])


@every_path
def test_the_selected_weights_alone_give_back_the_validation_of_their_epoch(variant: Variant) -> None:
    trained, dataset = run_of_one_worker(variant), toy_dataset(variant.modalities)
    exported = toy_method(variant.method, dataset, variant.hyperparameters, variant.epochs, seed=4)
    exported.load_inference_state(trained.weights)
    predicted = predict_split(exported, dataset.validation, torch.device("cpu"), WorkerGroup())
    found = score(predicted, dataset.validation.labels, CLASSES, "validation")
    assert found == trained.records[trained.selected_epoch - 1].metrics


@every_variant
def test_absent_modalities_do_not_count(variant: Variant) -> None:
    dataset = toy_dataset(variant.modalities)
    method = toy_method(variant.method, dataset, variant.hyperparameters).eval()
    batch = dataset.test.gather(torch.arange(5))
    changed = {m: x if m == "video" else x + 1 for m, x in batch.inputs.items()}
    before = method.predict(batch, present=["video"])["multi"]
    after = method.predict(Batch(changed, batch.labels, batch.index), present=["video"])["multi"]
    assert torch.equal(before, after)


# Hyperparameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", methods.names())
def test_wrong_hyperparameter_values_are_refused(name: str) -> None:
    kind = methods.get(name)
    for field in kind.Hyperparameters.model_fields:
        with pytest.raises(ValueError, match=field):
            kind.Hyperparameters.model_validate({field: object()})
    with pytest.raises(ValueError, match="unheard_of"):
        kind.Hyperparameters.model_validate({"unheard_of": 1})
