"""Gradients travel in buckets during the backward pass, and are those of the flat average."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support.counted_collectives import Collective, recorded_collectives
from support.worker_processes import Workers
from torch import Tensor, nn

from sweep.training import gradient_buckets
from sweep.training.gradient_buckets import GradientBuckets, bucket_groups
from sweep.training.workers import WorkerGroup

# Which parameters share a bucket --------------------------------------------------------------------------------------


def weights(*sizes: int, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(size, dtype=dtype)) for size in sizes]


def numbers(groups: Sequence[Sequence[nn.Parameter]]) -> list[list[int]]:
    return [[parameter.numel() for parameter in group] for group in groups]


@pytest.mark.parametrize(
    ("bucket_bytes", "expected"),
    [
        (1, [[5], [4], [3], [2], [1]]),
        (4 * 5, [[5], [4], [3, 2], [1]]),
        (4 * 6, [[5], [4], [3, 2, 1]]),
        (4 * 14, [[5, 4, 3, 2], [1]]),
        (4 * 15, [[5, 4, 3, 2, 1]]),
    ],
)
def test_buckets_hold_neighbours_in_reversed_order_up_to_their_size(
    bucket_bytes: int, expected: list[list[int]]
) -> None:
    assert numbers(bucket_groups(weights(1, 2, 3, 4, 5), bucket_bytes)) == expected


def test_buckets_are_of_one_type_and_in_the_order_of_their_last_parameters() -> None:
    single, double = weights(1, 2, 3), weights(4, 5, dtype=torch.float64)
    mixed = [single[0], double[0], single[1], double[1], single[2]]
    assert numbers(bucket_groups(mixed, 4 * 5)) == [[5], [3, 2], [4], [1]]
    assert numbers(bucket_groups(mixed, 1000)) == [[5, 4], [3, 2, 1]]
    assert bucket_groups([], 1000) == []


def test_a_bucket_has_at_least_a_byte() -> None:
    with pytest.raises(ValueError, match="bucket_bytes is 0"):
        GradientBuckets(WorkerGroup(), 0)


# One worker -----------------------------------------------------------------------------------------------------------


def test_one_worker_adds_its_gradients_without_a_collective() -> None:
    layer = nn.Linear(3, 2)
    buckets, loss = GradientBuckets(WorkerGroup()), layer(torch.ones(1, 3)).square().sum()
    expected = torch.autograd.grad(loss, list(layer.parameters()), retain_graph=True)
    with recorded_collectives() as collectives:
        buckets.backward(loss, list(layer.parameters()))
        buckets.backward(2 * layer(torch.ones(1, 3)).square().sum(), list(layer.parameters()))
    assert not collectives
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, 3 * gradient)


def test_one_worker_is_told_that_the_loss_depends_on_nothing() -> None:
    with pytest.raises(RuntimeError, match="the loss depends on nothing"):
        GradientBuckets(WorkerGroup()).backward(torch.tensor(1.0), weights(2))


# Two and three workers: what is sent to them -------------------------------------------------------------------------


def network(rank: int = 0) -> tuple[nn.Sequential, Tensor]:
    """The same network on each worker, and samples of the worker's own. A weight does not lie as its shape says."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))
    layers[2].weight = nn.Parameter(torch.randn(7, 5).t())
    return layers, torch.randn(4 + rank, 6, generator=torch.Generator().manual_seed(rank))


def loss_of(layers: nn.Module, samples: Tensor) -> Tensor:
    return layers(samples).square().sum(-1).mean()


def gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
    return [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]


def _both_averages(bucket_bytes: int) -> dict[str, Any]:
    """Gradients of two passes after each other, by one flat average and in buckets, and collectives of the second."""
    workers = WorkerGroup()
    layers, samples = network(workers.rank)
    parameters = list(layers.parameters())
    flat: list[Tensor] = []
    for factor in (1.0, 3.0):
        (own,) = workers.averaged_gradients([factor * loss_of(layers, samples)], parameters)
        flat = [before + new for before, new in zip(flat, own, strict=True)] if flat else own
    buckets = GradientBuckets(workers, bucket_bytes)
    buckets.backward(loss_of(layers, samples), parameters)
    with recorded_collectives() as collectives:
        buckets.backward(3.0 * loss_of(layers, samples), parameters)
    return {"flat": flat, "buckets": gradients(parameters), "seen": collectives}


# The layers have 42 + 7, 35 + 5 and 15 + 3 numbers in weight and bias. Each of these has a flag.
ONE_BUCKET = [49 + 40 + 18 + 6]
THREE_BUCKETS = [3 + 15 + 5 + 3, 35 + 7 + 2, 42 + 1]


@pytest.mark.parametrize(("bucket_bytes", "sent"), [(25 * 2**20, ONE_BUCKET), (4 * 49, THREE_BUCKETS)])
def test_two_workers_have_the_very_numbers_of_the_flat_average(
    bucket_bytes: int, sent: list[int], two_workers: Workers
) -> None:
    for result in two_workers.run(_both_averages, bucket_bytes):
        assert result["seen"] == [Collective("allreduce", torch.float32, count) for count in sent]
        for found, expected in zip(result["buckets"], result["flat"], strict=True):
            assert torch.equal(found, expected)


def test_three_workers_have_the_numbers_of_the_flat_average(three_workers: Workers) -> None:
    first, second, third = three_workers.run(_both_averages, 4 * 49)
    for result in (first, second, third):
        for found, expected in zip(result["buckets"], result["flat"], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
        for found, other in zip(result["buckets"], first["buckets"], strict=True):
            assert torch.equal(found, other)


def _types() -> dict[str, Any]:
    workers = WorkerGroup()
    types = [torch.float32, torch.bfloat16, torch.float64, torch.float16, torch.bfloat16]
    parameters = [nn.Parameter(torch.full((3,), k + 1.0, dtype=dtype)) for k, dtype in enumerate(types)]
    loss = torch.stack([(workers.rank + 1) * p.double().square().sum() for p in parameters]).sum()
    with recorded_collectives() as collectives:
        GradientBuckets(workers).backward(loss, parameters)
    return {"gradients": gradients(parameters), "seen": collectives, "types": types}


def test_a_type_has_a_bucket_of_its_own(two_workers: Workers) -> None:
    for result in two_workers.run(_types):
        seen = [(dtype, count) for _, dtype, count in result["seen"]]
        assert seen == [(torch.float16, 4), (torch.float64, 4), (torch.bfloat16, 8), (torch.float32, 4)]
        for k, (found, dtype) in enumerate(zip(result["gradients"], result["types"], strict=True)):
            # Of (rank + 1) p^2, averaged over ranks 0 and 1.
            assert torch.equal(found, torch.full((3,), 3.0 * (k + 1), dtype=dtype))


def _launches() -> list[int]:
    """How many collectives had started when the gradient of each layer's output was known, from the last on, and in
    the end."""
    workers, started = WorkerGroup(), list[int]()
    layers, samples = network(workers.rank)
    with recorded_collectives() as collectives:
        for layer in layers:
            samples = layer(samples)
            samples.register_hook(lambda _: started.append(len(collectives)))
        GradientBuckets(workers, 4 * 49).backward(samples.sum(), list(layers.parameters()))
    return [*started, len(collectives)]


def test_buckets_start_while_the_backward_pass_goes_on(two_workers: Workers) -> None:
    # The first bucket ends with the bias of the second layer, the second with that of the first layer.
    assert two_workers.run(_launches) == [[0, 0, 0, 1, 1, 3]] * 2


# Gradients that only some workers have --------------------------------------------------------------------------------


def _own_heads(host_memory: frozenset[str]) -> dict[str, Any]:
    """Each worker trains a head of its own (of equal shapes), all the trunk, nobody the last head, which holds a
    gradient already, nor the one before."""
    workers = WorkerGroup()
    before, gradient_buckets.HOST_MEMORY = gradient_buckets.HOST_MEMORY, host_memory
    try:
        torch.manual_seed(0)
        trunk = nn.Linear(2, 2, bias=False)
        heads = [nn.Linear(2, 2, bias=False) for _ in range(workers.size + 2)]
        heads[-1].weight.grad = torch.full((2, 2), 7.0)
        parameters = [trunk.weight, *(head.weight for head in heads)]
        loss = (workers.rank + 1) * (heads[workers.rank].weight.sum() + trunk.weight.sum())
        buckets = GradientBuckets(workers)
        with recorded_collectives() as collectives:
            buckets.backward(loss, parameters)
            first = gradients(parameters)
            # Everybody has every gradient.
            buckets.backward(torch.stack([p.sum() for p in parameters]).sum(), parameters)
        return {"first": first, "second": gradients(parameters), "seen": [c.numbers for c in collectives]}
    finally:
        gradient_buckets.HOST_MEMORY = before


FLAGS = [
    pytest.param(frozenset({"cpu"}), 1, id="flags in the bucket"),
    pytest.param(frozenset[str](), 2, id="flags between hosts, as for a device"),
]


def _check_own_heads(results: list[dict[str, Any]], collectives: int) -> None:
    size = len(results)
    count = size + 3
    for result in results:
        trunk, *heads = result["first"]
        assert torch.allclose(trunk, torch.full((2, 2), (size + 1) / 2))
        for rank, head in enumerate(heads[:size]):
            assert torch.allclose(head, torch.full((2, 2), (rank + 1) / size))
        assert heads[size] is None
        assert torch.equal(heads[size + 1], torch.full((2, 2), 7.0))
        for first, second in zip(result["first"], result["second"], strict=True):
            assert torch.allclose(second, torch.ones(2, 2) if first is None else first + 1)
        a_pass = [4 * count + count] if collectives == 1 else [4 * count, count]
        assert result["seen"] == 2 * a_pass


@pytest.mark.parametrize(("host_memory", "collectives"), FLAGS)
def test_two_workers_with_gradients_of_different_parameters(
    host_memory: frozenset[str], collectives: int, two_workers: Workers
) -> None:
    _check_own_heads(two_workers.run(_own_heads, host_memory), collectives)


@pytest.mark.parametrize(("host_memory", "collectives"), FLAGS)
def test_three_workers_with_gradients_of_different_parameters(
    host_memory: frozenset[str], collectives: int, three_workers: Workers
) -> None:
    _check_own_heads(three_workers.run(_own_heads, host_memory), collectives)


def _empty_share(kind: str) -> list[Tensor | None]:
    workers = WorkerGroup()
    layers, samples = network()
    loss = loss_of(layers, samples)
    if workers.rank == 1:
        loss = {"no graph": torch.tensor(0.0), "no rows": layers(samples[:0]).sum(), "no path": weights(1)[0].sum()}[
            kind
        ]
    GradientBuckets(workers, 4 * 49).backward(loss, list(layers.parameters()))
    return gradients(list(layers.parameters()))


@pytest.mark.parametrize("kind", ["no graph", "no rows", "no path"])
def test_a_worker_whose_loss_depends_on_no_parameter_takes_part(kind: str, two_workers: Workers) -> None:
    layers, samples = network()
    alone = torch.autograd.grad(loss_of(layers, samples), list(layers.parameters()))
    for result in two_workers.run(_empty_share, kind):
        for found, expected in zip(result, alone, strict=True):
            assert torch.equal(found, expected / 2)


def _without_samples() -> dict[str, Any]:
    """Worker 1 has no sample: its mean is no number. Only its loss depends on the last weight."""
    workers = WorkerGroup()
    parameters = weights(2, 3)
    rows = torch.ones(1 - workers.rank, 2)
    loss = (rows * parameters[0]).mean() + (parameters[1].sum() if workers.rank == 1 else 0.0)
    kept = workers.averaged_gradients([loss], parameters, counts=workers.rank == 0)[0]
    GradientBuckets(workers).backward(loss, parameters, counts=workers.rank == 0)
    return {"summed": gradients(parameters), "kept": kept}


def test_a_worker_without_samples_counts_as_if_it_had_no_gradient(two_workers: Workers) -> None:
    for result in two_workers.run(_without_samples):
        assert torch.equal(result["summed"][0], torch.full((2,), 0.25))
        assert result["summed"][1] is None
        assert torch.equal(result["kept"][0], torch.full((2,), 0.25))
        assert torch.equal(result["kept"][1], torch.zeros(3))


def _nothing() -> str:
    parameters = weights(2, 3)
    parameters[0].grad = torch.ones(2)
    with pytest.raises(RuntimeError) as caught:
        GradientBuckets(WorkerGroup()).backward(torch.tensor(0.0), parameters)
    assert parameters[1].grad is None
    assert torch.equal(parameters[0].grad, torch.ones(2))
    return str(caught.value)


def test_a_loss_that_depends_on_nothing_on_any_worker_is_refused(two_workers: Workers) -> None:
    for message in two_workers.run(_nothing):
        assert "the loss depends on nothing that requires a gradient, on any worker" in message


def _with_other_collectives() -> dict[str, Any]:
    """A gathered joint loss, whose backward pass has a collective after the last layer's gradient, which only worker 0
    has: it starts that bucket before it, worker 1 after it."""
    workers = WorkerGroup()
    torch.manual_seed(0)
    inner, last = nn.Linear(4, 4, bias=False), nn.Linear(4, 16, bias=False)
    last.weight.grad = inner.weight.grad = None
    gathered = workers.gather(inner(torch.full((1, 4), workers.rank + 1.0)), [1, 1])
    outputs = last(gathered) if workers.rank == 0 else gathered * 2
    with recorded_collectives() as collectives:
        GradientBuckets(workers, 1).backward(outputs.sum(), [inner.weight, last.weight])
    names = [collective.numbers for collective in collectives]
    return {"seen": names, "gradients": gradients([inner.weight, last.weight]), "last": last.weight.detach()}


def test_sums_are_not_mixed_with_the_collectives_of_the_pass(two_workers: Workers) -> None:
    first, second = two_workers.run(_with_other_collectives)
    assert first["seen"] == [64 + 1, 8, 16 + 1]
    assert second["seen"] == [8, 64 + 1, 16 + 1]
    # Of a row's outputs: what rank 0 sends back, and 2 from rank 1, for the rows 1 and 2.
    row = first["last"].sum(0) + 2
    inner = row[:, None].expand(4, 4) * (1 + 2) / 2
    for found in (first["gradients"], second["gradients"]):
        torch.testing.assert_close(found[0], inner)
        assert torch.equal(found[0], first["gradients"][0])
        assert torch.equal(found[1], first["gradients"][1])
        assert found[1].abs().sum() > 0


# Phases, frozen parameters, hooks -------------------------------------------------------------------------------------


def _phases() -> dict[str, Any]:
    """The first layer by itself, then all, then the last two while the first is frozen."""
    workers = WorkerGroup()
    layers, samples = network(workers.rank)
    everything = list(layers.parameters())
    phases = [everything[:2], everything, everything[2:], everything]
    buckets = GradientBuckets(workers)
    found, expected, seen = [], [], []
    for number, parameters in enumerate(phases):
        for parameter in everything:
            parameter.grad = None
            parameter.requires_grad_(number < 2 or all(parameter is not one for one in everything[:2]))
        moved = [p for p in parameters if p.requires_grad]
        averaged = iter(workers.averaged_gradients([loss_of(layers, samples)], moved)[0])
        expected.append([next(averaged) if p.requires_grad else None for p in parameters])
        with recorded_collectives() as collectives:
            buckets.backward(loss_of(layers, samples), parameters)
        found.append(gradients(parameters))
        seen.append([collective.numbers for collective in collectives])
    return {"found": found, "expected": expected, "seen": seen}


def test_phases_and_frozen_parameters(two_workers: Workers) -> None:
    for result in two_workers.run(_phases):
        assert result["seen"] == [[49 + 2], ONE_BUCKET, [40 + 18 + 4], ONE_BUCKET]
        for found, expected in zip(result["found"], result["expected"], strict=True):
            for one, other in zip(found, expected, strict=True):
                assert one is other is None or torch.equal(one, other)


def _traces() -> dict[str, Any]:
    workers = WorkerGroup()
    layers, samples = network(workers.rank)
    parameters, buckets = list(layers.parameters()), GradientBuckets(workers)
    buckets.backward(loss_of(layers, samples), [*parameters, parameters[0]])
    averaged = gradients(parameters)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(layers)))
    for parameter in parameters:
        parameter.grad = None
    with recorded_collectives() as collectives:
        loss_of(layers, samples).backward()
        loss_of(copied, samples).backward()
    own = gradients(parameters)
    # A pass with other parameters lets go of the earlier ones.
    gone = weakref.ref(parameters[0])
    buckets.backward((weights(1)[0] * 1.0).sum(), weights(1))
    del layers, parameters, parameter, copied
    gc.collect()
    return {"averaged": averaged, "own": own, "seen": collectives, "gone": gone() is None}


def test_a_pass_leaves_no_hook_and_keeps_no_parameters_of_an_earlier_phase(two_workers: Workers) -> None:
    first, second = two_workers.run(_traces)
    for result in (first, second):
        assert not result["seen"]
        assert result["gone"]
        for averaged, one, two in zip(result["averaged"], first["own"], second["own"], strict=True):
            assert torch.equal(averaged, (one + two) / 2)
    assert not torch.equal(first["own"][0], second["own"][0])


def _failing_pass() -> list[Tensor | None]:
    """A pass that ends with an error on all workers after its first bucket has left, and one that does not."""
    workers = WorkerGroup()
    layers, samples = network(workers.rank)
    buckets, parameters = GradientBuckets(workers, 4 * 49), list(layers.parameters())

    def fail(gradient: Tensor) -> Tensor:
        raise ZeroDivisionError

    hidden = layers[:2](samples)
    hidden.register_hook(fail)
    with pytest.raises(ZeroDivisionError):
        buckets.backward(layers[2:](hidden).sum(), parameters)
    for parameter in parameters:
        parameter.grad = None
    buckets.backward(loss_of(layers, samples), parameters)
    averaged = gradients(parameters)
    (flat,) = workers.averaged_gradients([loss_of(layers, samples)], parameters)
    return [found - expected for found, expected in zip(averaged, flat, strict=True) if found is not None]


def test_a_pass_after_one_that_failed_is_not_disturbed_by_it(two_workers: Workers) -> None:
    for differences in two_workers.run(_failing_pass):
        assert len(differences) == 6
        assert not any(difference.any() for difference in differences)


class Recomputed(torch.autograd.Function):
    """Applies a layer again in the backward pass, which then has a pass within: as reentrant checkpointing does."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: nn.Module) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.layer = layer
        return layer(inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        with torch.enable_grad():
            inputs = ctx.saved_tensors[0].detach().requires_grad_()
            ctx.layer(inputs).backward(gradient)
        return inputs.grad, None


def _gradient_in_two_parts() -> str:
    layer = nn.Linear(2, 2, bias=False)
    once = Recomputed.apply(torch.ones(1, 2, requires_grad=True), layer)
    with pytest.raises(RuntimeError) as caught:
        GradientBuckets(WorkerGroup()).backward(Recomputed.apply(once, layer).sum(), [layer.weight])
    return str(caught.value)


def test_a_gradient_that_comes_after_its_bucket_has_left_is_refused(two_workers: Workers) -> None:
    for message in two_workers.run(_gradient_in_two_parts):
        assert "shape (2, 2) got a gradient twice" in message
        assert "use_reentrant=False" in message


# Gradients of several losses ------------------------------------------------------------------------------------------


def _several_losses() -> dict[str, Any]:
    workers = WorkerGroup()
    layers, samples = network(workers.rank)
    parameters = list(layers.parameters())
    parameters[0].grad = torch.ones(7, 6)
    losses = [loss_of(layers, samples), loss_of(layers[:3], samples), torch.tensor(1.0), layers[4].bias.sum()]
    with recorded_collectives() as collectives:
        found = workers.averaged_gradients(losses, parameters)
    apart = [workers.averaged_gradients([loss], parameters)[0] for loss in losses]
    return {"found": found, "apart": apart, "seen": collectives, "held": gradients(parameters)}


def test_gradients_of_several_losses_are_averaged_in_one_reduce(two_workers: Workers) -> None:
    for result in two_workers.run(_several_losses):
        assert result["seen"] == [Collective("allreduce", torch.float32, 4 * (49 + 40 + 18))]
        assert torch.equal(result["held"][0], torch.ones(7, 6))
        assert result["held"][1:] == [None] * 5
        for found, apart in zip(result["found"], result["apart"], strict=True):
            assert all(torch.equal(one, other) for one, other in zip(found, apart, strict=True))
        whole, below, nothing, bias = ([bool(g.any()) for g in found] for found in result["found"])
        assert whole == [True] * 6
        assert below == [True] * 4 + [False] * 2
        assert nothing == [False] * 6
        assert bias == [False] * 5 + [True]
        assert torch.equal(result["found"][3][5], torch.ones(3))


def _shared_memory() -> dict[str, Any]:
    """The gradients of both weights are one tensor on worker 0, two on worker 1."""
    workers = WorkerGroup()
    first, second = (nn.Parameter(torch.ones(3)) for _ in range(2))
    factor = torch.arange(1.0, 4.0)
    joint = ((first + second) * factor).sum()
    loss = joint if workers.rank == 0 else joint + (second * factor).sum()
    own = torch.autograd.grad(loss, [first, second], retain_graph=True)
    shared = own[0].data_ptr() == own[1].data_ptr()
    return {"shared": shared, "found": workers.averaged_gradients([loss], [first, second])[0]}


def test_gradients_that_share_memory_on_one_worker_are_averaged_apart(two_workers: Workers) -> None:
    first, second = two_workers.run(_shared_memory)
    assert (first["shared"], second["shared"]) == (True, False)
    for result in (first, second):
        assert torch.equal(result["found"][0], torch.arange(1.0, 4.0))
        assert torch.equal(result["found"][1], 1.5 * torch.arange(1.0, 4.0))


def test_gradients_of_several_losses_of_one_worker_need_no_collective() -> None:
    layers, samples = network()
    parameters = list(layers.parameters())
    with recorded_collectives() as collectives:
        (found,) = WorkerGroup().averaged_gradients([loss_of(layers, samples)], parameters)
    assert not collectives
    assert WorkerGroup().averaged_gradients([loss_of(layers, samples)] * 2, []) == [[], []]
    for one, other in zip(found, torch.autograd.grad(loss_of(layers, samples), parameters), strict=True):
        assert torch.equal(one, other)
