"""Synchronised batch norm: torch's own for one worker, that of the joint batch for several."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from support.counted_collectives import counted_collectives
from support.worker_processes import Workers
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from models import batchnorm
from models.batchnorm import SynchronizedBatchNorm, frozen_statistics, synchronize

SHAPES = {nn.BatchNorm1d: (6, 3), nn.BatchNorm2d: (6, 3, 4, 5), nn.BatchNorm3d: (6, 3, 2, 4, 5)}


def _moved(kind: type[nn.Module], **options: Any) -> nn.Module:
    """A batch norm whose every number differs from its default."""
    norm = kind(3, **options)
    for index, tensor in enumerate(norm.state_dict().values()):
        if tensor.is_floating_point():
            tensor.copy_(torch.linspace(0.5, 1.5, 3) + index)
    return norm


def _buffers(module: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in module.buffers()]


# One worker ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"momentum": None, "eps": 1e-2}, {"affine": False}, {"momentum": 0.7}])
@pytest.mark.parametrize("kind", SHAPES)
def test_one_worker_is_torch_bit_for_bit(kind: type[nn.Module], options: dict[str, Any], training: bool) -> None:
    reference, own = _moved(kind, **options).train(training), _moved(kind, **options).train(training)
    assert synchronize(own) is own
    assert isinstance(own, SynchronizedBatchNorm)
    for seed in range(2):
        x = torch.randn(SHAPES[kind], generator=torch.Generator().manual_seed(seed), requires_grad=True)
        y = x.detach().clone().requires_grad_()
        expected, found = reference(x), own(y)
        assert torch.equal(found, expected)
        expected.square().sum().backward()
        found.square().sum().backward()
        assert torch.equal(x.grad, y.grad)
    for (name, value), (other, same) in zip(reference.state_dict().items(), own.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(value, same)


def test_constructed_directly_it_takes_torchs_arguments_and_state() -> None:
    own = SynchronizedBatchNorm(3, eps=1e-3, momentum=0.2)
    own.load_state_dict(_moved(nn.BatchNorm2d).state_dict())
    assert own.weight.tolist() == [0.5, 1.0, 1.5]
    assert own(torch.randn(2, 3, 4, 4)).shape == (2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        own(torch.randn(4))


def test_synchronize_keeps_what_a_layer_is() -> None:
    shared = nn.BatchNorm1d(4, eps=0.1, momentum=0.3)
    model = nn.ModuleDict({"a": nn.Sequential(nn.Linear(4, 4), shared), "b": shared, "c": nn.LayerNorm(4)})
    model["a"].eval()
    weight, buffer = shared.weight, shared.running_mean
    synchronize(model)
    norm = model["b"]
    assert model["a"][1] is norm
    assert isinstance(norm, SynchronizedBatchNorm)
    assert norm.weight is weight
    assert norm.running_mean is buffer
    assert (norm.eps, norm.momentum, norm.training) == (0.1, 0.3, False)
    assert type(model["c"]) is nn.LayerNorm


def test_synchronize_leaves_other_peoples_batch_norms() -> None:
    class Ghost(nn.BatchNorm2d):
        pass

    assert type(synchronize(nn.Sequential(Ghost(3)))[0]) is Ghost


# Frozen statistics ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, SynchronizedBatchNorm])
def test_frozen_statistics_normalise_by_the_batch_and_move_nothing(kind: type[nn.Module]) -> None:
    model, free = nn.Sequential(_moved(kind)), nn.Sequential(_moved(kind))
    x = 3 * torch.randn(6, 3, 4, 5, generator=torch.Generator().manual_seed(0)) + 2
    before = _buffers(model)
    with frozen_statistics(model):
        found = model(x)
    assert torch.equal(found, free(x))
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
    model(x)
    assert all(torch.equal(a, b) for a, b in zip(free.buffers(), model.buffers(), strict=True))
    assert not torch.equal(before[0], model[0].running_mean)


def test_frozen_statistics_nest_and_keep_modes() -> None:
    model = nn.Sequential(_moved(nn.BatchNorm1d), nn.BatchNorm1d(3, track_running_stats=False)).eval()
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    expected = model(x)
    with frozen_statistics(model):
        with frozen_statistics(model[0]):
            assert torch.equal(model(x), expected)
        assert not model[0].track_running_stats
    assert not model.training
    assert [norm.track_running_stats for norm in model] == [True, False]


def test_frozen_statistics_end_with_an_error() -> None:
    norm = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="expected 2D or 3D"), frozen_statistics(norm):
        norm(torch.zeros(3))
    assert norm.track_running_stats


# Several workers -----------------------------------------------------------------------------------------------

CASES: dict[str, tuple[type[nn.Module], dict[str, Any], tuple[int, int], tuple[int, int, int]]] = {
    "even": (nn.BatchNorm2d, {}, (3, 3), (2, 2, 2)),
    "uneven": (nn.BatchNorm2d, {}, (1, 5), (1, 2, 3)),
    "empty": (nn.BatchNorm3d, {}, (6, 0), (2, 0, 4)),
    "all in one": (nn.BatchNorm1d, {}, (0, 6), (0, 6, 0)),
    "vectors": (nn.BatchNorm1d, {}, (4, 2), (4, 1, 1)),
    "cumulative": (nn.BatchNorm2d, {"momentum": None}, (2, 4), (1, 1, 4)),
    "no affine": (nn.BatchNorm2d, {"affine": False}, (5, 1), (5, 1, 0)),
    "untracked": (nn.BatchNorm2d, {"track_running_stats": False}, (5, 1), (5, 0, 1)),
}
"""Name -> layer, its options, and the rows of two and of three workers."""
LINE = torch.arange(24.0).view(8, 3).bfloat16()
WAITS = {"_local_scalar_dense", "lift_fresh", "nonzero"}
"""What torch calls numbers of the host that become a tensor, and numbers of a tensor that the host reads."""


def _train(norm: nn.Module, shape: tuple[int, ...], mine: slice, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Two training steps on this worker's rows, then an evaluation pass: outputs, gradients, state."""
    norm = norm.to(dtype)
    outputs, gradients = [], []
    for seed in range(2):
        random = torch.Generator().manual_seed(seed)
        x = (4 * torch.randn(shape, generator=random, dtype=torch.float64) + 1).to(dtype)[mine].requires_grad_()
        target = torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)[mine]
        output = norm(x)
        (output - target).pow(2).mul(target).sum().backward()
        outputs.append(output.detach())
        gradients.append(x.grad)
    outputs.append(norm.eval()(x).detach() if norm.track_running_stats else x.detach())
    parameters = [p.grad for p in norm.parameters()]
    return {"outputs": outputs, "gradients": gradients, "parameters": parameters, "buffers": list(norm.buffers())}


def _mine(shares: tuple[int, ...]) -> slice:
    before = sum(shares[: dist.get_rank()])
    return slice(before, before + shares[dist.get_rank()])


def _work() -> dict[str, Any]:
    rank, size, found = dist.get_rank(), dist.get_world_size(), {}
    for name, (kind, options, *shares) in CASES.items():
        norm, mine = synchronize(_moved(kind, **options)), _mine(shares[size - 2])
        found[name] = _train(norm, SHAPES[kind], mine)
    mine = _mine(CASES["uneven"][size])
    found["single"] = _train(SynchronizedBatchNorm(3), SHAPES[nn.BatchNorm2d], mine, torch.float32)
    far = torch.randn(SHAPES[nn.BatchNorm2d], generator=torch.Generator().manual_seed(0)) + 1000
    found["far"] = SynchronizedBatchNorm(3)(far[mine]).detach()

    norm, x = SynchronizedBatchNorm(3), LINE.tensor_split(size)[rank]
    found["half"] = norm(x).detach()
    before = _buffers(norm)
    with frozen_statistics(norm), torch.no_grad():
        norm(x)
    found["frozen"] = all(torch.equal(a, b) for a, b in zip(before, norm.buffers(), strict=True))
    with pytest.raises(ValueError, match="more than one value"):
        norm(torch.randn(int(rank == 0), 3))
    return found


def _record() -> tuple[dict[str, int], dict[str, int], set[str]]:
    """Count the collectives of a forward and of a backward pass, and name the operations of both."""
    norm, x = SynchronizedBatchNorm(3), torch.randn(2, 3, 4, 5)[: 2 * dist.get_rank()].requires_grad_()
    with counted_collectives() as forward:
        output = norm(x)
    with counted_collectives() as backward:
        output.sum().backward()
    norm, x = SynchronizedBatchNorm(3, momentum=None), torch.randn(2, 3, 4, 5, requires_grad=True)
    with _Recording() as mode:
        norm(x).sum().backward()
    return dict(forward), dict(backward), mode.names


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.fixture(scope="module", params=["two_workers", "three_workers"])
def workers(request: pytest.FixtureRequest) -> Workers:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def found(workers: Workers) -> list[dict[str, Any]]:
    return workers.run(_work)


@pytest.mark.parametrize("name", CASES)
def test_workers_are_one_on_the_joint_batch(found: list[dict[str, Any]], name: str) -> None:
    kind, options, *shares = CASES[name]
    joint = _train(_moved(kind, **options), SHAPES[kind], slice(None))
    each = [results[name] for results in found]
    assert tuple(len(worker["outputs"][0]) for worker in each) == shares[len(found) - 2]
    _assert_joint(each, joint)
    assert len(joint["buffers"]) == (0 if name == "untracked" else 3)


def test_workers_in_single_precision_are_one(found: list[dict[str, Any]]) -> None:
    joint = _train(nn.BatchNorm2d(3), SHAPES[nn.BatchNorm2d], slice(None), torch.float32)
    _assert_joint([results["single"] for results in found], joint, atol=2e-6, rtol=2e-6)


def test_a_mean_far_from_zero_costs_no_digits(found: list[dict[str, Any]]) -> None:
    far = torch.randn(SHAPES[nn.BatchNorm2d], generator=torch.Generator().manual_seed(0)) + 1000
    expected = nn.BatchNorm2d(3).double()(far.double()).float()
    # A number of a thousand has steps of 6e-5.
    torch.testing.assert_close(torch.cat([results["far"] for results in found]), expected, atol=1e-4, rtol=0)


def _assert_joint(each: list[dict[str, Any]], joint: dict[str, Any], **tolerance: float) -> None:
    """Compare what workers found, side by side or summed, with what one worker found on the joint batch."""
    for what in ("outputs", "gradients"):
        for step, expected in enumerate(joint[what]):
            torch.testing.assert_close(torch.cat([worker[what][step] for worker in each]), expected, **tolerance)
    for index, expected in enumerate(joint["parameters"]):
        torch.testing.assert_close(sum(worker["parameters"][index] for worker in each), expected, **tolerance)
    for index, expected in enumerate(joint["buffers"]):
        for worker in each:
            torch.testing.assert_close(worker["buffers"][index], expected, **tolerance)


def test_workers_in_half_precision_and_frozen(found: list[dict[str, Any]]) -> None:
    assert all(results["frozen"] for results in found)
    expected = nn.BatchNorm1d(3)(LINE.float()).bfloat16()
    assert torch.equal(torch.cat([results["half"] for results in found]), expected)


def test_a_pass_is_one_collective_and_never_waits_for_the_device(workers: Workers) -> None:
    for forward, backward, operations in workers.run(_record):
        assert forward == {"allreduce": 1}
        assert backward == {"allreduce": 1}
        assert "var_mean" in operations
        assert not operations & WAITS


# One of two, in this process -----------------------------------------------------------------------------------


def _beside(monkeypatch: pytest.MonkeyPatch, other: Tensor) -> None:
    """Make this process the first of two workers, the second of which holds ``other`` [B, C, W]."""
    count, over = other.numel() // other.shape[1], (0, 2)
    mean = other.sum(over) / max(1, count)
    squares = (other - mean[None, :, None]).square().sum(over)
    row = torch.cat([torch.tensor([float(count)]), mean, squares])
    monkeypatch.setattr(batchnorm, "worker_count", lambda: 2)
    monkeypatch.setattr(batchnorm, "_rows_of_workers", lambda own: torch.stack([own, row]))


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_row_of_a_worker_stands_at_its_rank_among_zeros(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    monkeypatch.setattr(dist, "get_rank", lambda: rank)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    monkeypatch.setattr(batchnorm, "all_reduce", lambda rows, group: rows + 10)  # the others' rows
    expected = torch.full((3, 2), 10.0)
    expected[rank] += torch.tensor([1.0, 2.0])
    assert torch.equal(batchnorm._rows_of_workers(torch.tensor([1.0, 2.0])), expected)


@pytest.mark.parametrize("momentum", [0.3, None])
@pytest.mark.parametrize("sizes", [(4, 2), (1, 3), (3, 0), (0, 3)])
def test_shares_of_any_size_have_the_moments_of_the_joint_batch(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int], momentum: float | None
) -> None:
    joint = 5 + 3 * torch.randn(sum(sizes), 3, 2, generator=torch.Generator().manual_seed(0))
    mine, other = joint.split(list(sizes))
    reference, own = (_moved(nn.BatchNorm1d, momentum=momentum) for _ in range(2))
    expected = reference(joint)
    _beside(monkeypatch, other)
    torch.testing.assert_close(synchronize(own)(mine), expected[: len(mine)])
    for found, value in zip(own.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(found, value)


@pytest.mark.parametrize(("sizes", "enough"), [((1, 0), False), ((0, 1), False), ((1, 1), True), ((2, 0), True)])
def test_a_joint_batch_of_one_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int], enough: bool
) -> None:
    mine, other = torch.arange(6.0).view(2, 3, 1)[: sum(sizes)].split(list(sizes))
    _beside(monkeypatch, other)
    norm = synchronize(nn.BatchNorm1d(3))
    if enough:
        assert norm(mine).shape == mine.shape
        return
    with pytest.raises(ValueError, match="needs more than one value a channel to train on; use a larger batch"):
        norm(mine)
