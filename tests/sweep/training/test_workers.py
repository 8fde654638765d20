"""Sums, gathers and gradients over workers are those of the joint batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.hand_driven_context import ParametersAlone, hand_driven_context
from support.toy_dataset import toy_dataset
from support.worker_processes import Workers
from torch import distributed as dist
from torch import nn

from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup, worker_slice


@given(st.integers(0, 300), st.integers(1, 9))
def test_shares_are_contiguous_complete_and_even(total: int, size: int) -> None:
    parts = [list(range(total))[worker_slice(total, size, rank)] for rank in range(size)]
    assert [row for part in parts for row in part] == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_group_of_one_is_free() -> None:
    group, value = WorkerGroup(), torch.arange(3.0)
    assert (group.rank, group.size) == (0, 1)
    for result in (group.sum(value), group.broadcast(value), group.gather(value, [3])):
        assert torch.equal(result, value)


def _joint_gradients(joint_size: int) -> dict[str, Any]:
    """Gradients of a loss with a local part (mean over samples) and a joint part (on gathered rows)."""
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    learning = ParametersAlone(model.parameters())
    context = hand_driven_context(learning, toy_dataset(train=joint_size), Recipe(batch_size=16))
    batch = next(context.training_batches(torch.arange(joint_size), drop_last=False))
    features = model(batch.inputs["audio"])
    local = features.square().sum(-1).mean()
    gathered = context.gather(features)
    joint = (gathered @ gathered.T).sigmoid().mean()
    inner = context.gradients(local, list(model.parameters()))
    context.backward(local + joint)
    context.backward(model(batch.inputs["audio"]).square().sum(-1).mean())
    return {
        "gradients": [p.grad.clone() for p in model.parameters() if p.grad is not None],
        "inner": inner,
        "mean": context.mean(local),
        "rows": context.gather_rows(batch.index),
        "sum": context.sum(torch.tensor(float(len(batch)))),
        "broadcast": context.broadcast(torch.tensor([float(context.rank)])),
        "scoring": [b.index for b in context.train_batches(4)],
    }


@pytest.mark.parametrize("joint_size", [16, 13, 3, 1])
def test_two_workers_have_the_gradients_of_the_joint_batch(joint_size: int, two_workers: Workers) -> None:
    alone = _joint_gradients(joint_size)
    first, second = two_workers.run(_joint_gradients, joint_size)
    for result in (first, second):
        for key in ("gradients", "inner"):
            for found, expected in zip(result[key], alone[key], strict=True):
                torch.testing.assert_close(found, expected)
        torch.testing.assert_close(result["mean"], alone["mean"])
        assert torch.equal(result["rows"], torch.arange(joint_size))
        assert result["sum"] == joint_size
        assert torch.equal(result["broadcast"], torch.zeros(1))
    parts = [torch.cat(pair) for pair in zip(first["scoring"], second["scoring"], strict=True)]
    assert torch.equal(torch.cat(parts), torch.arange(joint_size))


def _gradients_of_odd_weights() -> list[torch.Tensor]:
    """Gradients of weights in two precisions, of which two do not lie in memory as their shape says."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (2, 5), (4,), (3, 2)]
    dtypes = [torch.float32, torch.float64, torch.float32, torch.float64]
    weights = [torch.randn(s, generator=draw, dtype=d) for s, d in zip(shapes, dtypes, strict=True)]
    weights = [nn.Parameter(w.t() if w.ndim == 2 and k < 2 else w) for k, w in enumerate(weights)]
    assert [w.is_contiguous() for w in weights] == [False, False, True, True]
    context = hand_driven_context(ParametersAlone(weights), toy_dataset(), Recipe(batch_size=13))
    batch = next(context.training_batches(torch.arange(13), drop_last=False))
    factor = batch.inputs["audio"].sum(1)
    # The gradient of each number differs from that of every other.
    numbers = [torch.arange(1.0, w.numel() + 1).view(w.shape) for w in weights]
    parts = torch.stack([(n * w.square()).sum().float() for n, w in zip(numbers, weights, strict=True)])
    context.backward((factor[:, None] * parts).sum(1).mean())
    return [w.grad.clone() for w in weights if w.grad is not None]


def test_gradients_of_any_type_and_layout_are_those_of_the_joint_batch(two_workers: Workers) -> None:
    alone = _gradients_of_odd_weights()
    assert len(alone) == 4
    for result in two_workers.run(_gradients_of_odd_weights):
        for found, expected in zip(result, alone, strict=True):
            assert found.dtype == expected.dtype
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_workers_average_types_in_the_order_of_the_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    group, reduced = WorkerGroup(), list[torch.dtype]()
    group.size = 2
    monkeypatch.setattr(dist, "all_reduce", lambda value: reduced.append(value.dtype))
    types = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
    for order in (types, types[::-1]):
        reduced.clear()
        parameters = [nn.Parameter(torch.ones(2, dtype=dtype)) for dtype in order]
        group.averaged_gradients([torch.stack([p.sum().double() for p in parameters]).sum()], parameters)
        assert reduced == order
