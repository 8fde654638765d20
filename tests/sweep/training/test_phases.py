"""What the loop offers beside one phase over everything, by small methods that need it: every run resumes bit-equal
after any epoch, and N workers train as one."""

from __future__ import annotations

import functools
import io
import itertools
from typing import Any

import pytest
import torch
from support.contract_methods import CONTRACT_METHODS
from support.equality import assert_close, assert_same
from support.toy_dataset import toy_dataset
from support.worker_processes import Workers

from methods.base import Hyperparameters, Phase
from models import encoders
from sweep.training import seeds
from sweep.training.epoch_record import EpochRecord
from sweep.training.loop import Training
from sweep.training.metrics import predict_split, score
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup

EPOCHS = 4
every_method = pytest.mark.parametrize("name", CONTRACT_METHODS)


def contract_training(
    name: str, state: dict[str, Any] | None = None, samples: int = 45, epochs: int = EPOCHS, **options: Any
) -> Training:
    recipe = Recipe(**{"batch_size": 18, "lr": 0.05, "schedule": {"name": "step", "every": 2.0}, **options})
    dataset = toy_dataset(train=samples)
    torch.manual_seed(seeds.derive(3, "initialisation"))
    spec = encoders.resolve({"name": "mlp", "width": 8})
    built = {m: encoders.build(spec, shape) for m, shape in dataset.shapes().items()}
    method = CONTRACT_METHODS[name](built, dataset.num_classes, Hyperparameters(), epochs)
    return Training(method, dataset, recipe, seed=3, state=state, workers=WorkerGroup(), test_peak=True)


def trained(
    name: str, state: dict[str, Any] | None = None, at_most: int | None = None, **options: Any
) -> tuple[list[EpochRecord], list[bytes]]:
    """Record and saved state of each epoch, of ``at_most`` of them."""
    training = contract_training(name, state, **options)
    records, states = [], []
    for record in itertools.islice(training.epochs(), at_most):
        records.append(record)
        buffer = io.BytesIO()
        torch.save(training.state_dict(), buffer)
        states.append(buffer.getvalue())
    return records, states


def read_back(state: bytes) -> dict[str, Any]:
    return dict(torch.load(io.BytesIO(state), weights_only=True))


def numbers(record: EpochRecord) -> dict[str, Any]:
    return record.model_dump(exclude={"seconds", "samples_per_second", "peak_memory_mib"})


def without_clock(state: dict[str, Any]) -> dict[str, Any]:
    measured = ("seconds", "training_seconds", "peak_memory")
    return state | {"progress": {key: value for key, value in state["progress"].items() if key not in measured}}


# Resuming ------------------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adamw", "lr": 0.01, "schedule": {"name": "cosine"}, "gradient_clip": 1.0}],
    ids=["sgd-step", "adamw-cosine-clip"],
)
def test_a_run_goes_on_bit_equal_from_after_any_epoch(name: str, options: dict[str, Any]) -> None:
    """All that follows the first stop; one epoch after each other, whose state, in all its parts, says that the next
    one follows as if from there."""
    records, states = trained(name, **options)
    for stop in range(1, len(records)):
        later, after = trained(name, read_back(states[stop - 1]), None if stop == 1 else 1, **options)
        assert len(later) == (len(records) - 1 if stop == 1 else 1)
        for one, other, state, expected in zip(later, records[stop:], after, states[stop:], strict=False):
            assert_same(numbers(one), numbers(other), f"epoch {other.epoch} after {stop}")
            found, expected_state = (without_clock(read_back(each)) for each in (state, expected))
            assert_same(found, expected_state, f"epoch {other.epoch} after {stop}")


# Workers -------------------------------------------------------------------------------------------------------


def shares(name: str, samples: int, batch_size: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    records, states = trained(name, samples=samples, batch_size=batch_size)
    state = read_back(states[-1])
    return [numbers(record) for record in records], {key: state[key] for key in ("method", "best", "groups")}


shares_of_one_worker = functools.cache(shares)


@every_method
@pytest.mark.parametrize(("samples", "batch_size"), [(45, 18), (38, 18), (37, 18)], ids=["9", "2", "1"])
def test_two_workers_train_as_one(name: str, samples: int, batch_size: int, two_workers: Workers) -> None:
    alone = shares_of_one_worker(name, samples, batch_size)
    for worker in two_workers.run(shares, name, samples, batch_size):
        assert_close(worker, alone, name)


@every_method
@pytest.mark.parametrize(("samples", "batch_size"), [(46, 18), (38, 18)], ids=["10", "2"])
def test_three_workers_train_as_one(name: str, samples: int, batch_size: int, three_workers: Workers) -> None:
    alone = shares_of_one_worker(name, samples, batch_size)
    for worker in three_workers.run(shares, name, samples, batch_size):
        assert_close(worker, alone, name)


# What is selected ----------------------------------------------------------------------------------------------


@every_method
def test_the_selected_weights_give_back_the_recorded_validation(name: str) -> None:
    training = contract_training(name)
    records = list(training.epochs())
    result = training.result()
    chosen = records[result.selected_epoch - 1]
    assert chosen.selectable is not None
    split = toy_dataset().validation
    found = predict_split(training.method, split, torch.device("cpu"), WorkerGroup())
    assert score(found, split.labels, 4, "validation") == chosen.metrics
    best = max(r.metrics["validation_accuracy"] for r in records if r.selectable is not None)
    assert chosen.metrics["validation_accuracy"] == best


def test_epochs_of_stages_are_counted_where_they_may_be_selected() -> None:
    records, _ = trained("stages")
    assert [(r.phase, r.selectable) for r in records] == [
        ("boost 0", None),
        ("rectify 0", None),
        ("boost 1", None),
        ("rectify 1", 1),
    ]
    assert [r.forward_passes for r in records] == [45, 135, 180, 270]


def test_phases_beside_the_budget_leave_its_random_numbers_alone() -> None:
    """However long teachers are trained, the student sees the same order of samples."""
    orders = []
    for length in (2, 3):
        training = contract_training("teachers")
        method = training.method
        phases = [p if p.budget else Phase(**{**vars(p), "epochs": length}) for p in method.phases]
        method.phases[:] = phases
        seen: list[list[int]] = []
        plain = type(method).sampler

        def sampler(context: Any, seen: list[list[int]] = seen, plain: Any = plain, method: Any = method) -> Any:
            order = plain(method, context)
            if context.phase.budget:
                seen.append(order.tolist())
            return order

        method.sampler = sampler  # type: ignore[method-assign]
        again = Training(method, toy_dataset(), Recipe(batch_size=18), seed=3)
        records = list(again.epochs())
        assert len(records) == 2 * length + EPOCHS
        orders.append(seen)
    assert len(orders[0]) == EPOCHS
    assert orders[0] == orders[1]


def test_teachers_are_neither_selected_nor_kept() -> None:
    training = contract_training("teachers")
    records = list(training.epochs())
    assert [r.selectable for r in records] == [None] * 4 + [1, 2, 3, 4]
    assert [r.phase for r in records[::2]] == ["teacher audio", "teacher video", "student", "student"]
    training.result()
    names = training.state_dict()["best"]
    assert names
    assert not [name for name in names if name.startswith(("teachers", "kept", "best"))]


def test_patience_counts_only_what_may_be_selected() -> None:
    training = contract_training("teachers")
    training._patience = 1
    phases = [r.phase for r in training.epochs()]
    assert phases[:4] == ["teacher audio"] * 2 + ["teacher video"] * 2
    assert phases[4:]


# Rates, held-out samples, numbers --------------------------------------------------------------------------------


def test_a_branch_that_stopped_stays_as_it_is() -> None:
    training = contract_training("stopping", epochs=12, optimizer="adamw", lr=0.3, schedule={"name": "constant"})
    frozen: dict[str, dict[str, torch.Tensor]] = {}
    for record in training.epochs():
        for m, rate in training.method.rates.items():  # type: ignore[union-attr,operator]
            own = {k: v.clone() for k, v in training.method.encoders[m].state_dict().items()}
            if m in frozen:
                assert f"learning_rate_{m}" not in record.diagnostics
                assert_same(own, frozen[m], m)
            elif rate == 0:
                frozen[m] = own
    assert frozen


def test_held_out_samples_are_stratified_and_never_shown() -> None:
    training = contract_training("estimates")
    context = training._context
    labels = toy_dataset().train.labels
    assert len(context.held_out) == 8
    assert labels[context.held_out].bincount().tolist() == [2, 2, 2, 2]
    shown = torch.cat([batch.index for batch in context.train_batches()])
    assert sorted([*shown.tolist(), *context.held_out.tolist()]) == list(range(45))
    order = training.method.sampler(context)
    assert isinstance(order, torch.Tensor)
    assert sorted(order.tolist()) == sorted(shown.tolist())


def test_estimates_run_at_the_rate_that_the_run_has_reached() -> None:
    records, _ = trained("estimates")
    rates = {}
    for r in records:
        rates.setdefault(r.phase, r.learning_rate)
    assert rates["estimate 0"] == rates["train 0"]
    assert rates["estimate 1"] == rates["train 1"] == pytest.approx(0.1 * rates["train 0"])
    assert [bool(r.metrics) for r in records] == [False, False, True, True] * 2


def test_an_epoch_without_samples_has_no_loss_and_no_steps() -> None:
    records, _ = trained("revalued")
    assert records[2].loss == 0
    assert records[2].samples == records[1].samples


def test_logged_numbers_are_means_over_the_epoch() -> None:
    records, _ = trained("dropping")
    for record in records:
        assert 0.5 < record.diagnostics["kept"] < 0.9
    assert len({record.diagnostics["noise"] for record in records}) == len(records)
