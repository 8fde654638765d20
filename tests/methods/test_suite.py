"""The suite of all methods itself: which variants it finds, what it may cost, what it says where workers differ."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from support.counted_collectives import counted_collectives
from support.device_waits import no_waits
from support.equality import assert_close, assert_same, explained
from support.method_variants import Variant, declared_variants, first_of_each_path
from support.processor_budget import FIXED_WORK_SECONDS, ProcessorBudget, fixed_work, processor_seconds
from support.worker_processes import WorkerError, Workers
from torch.distributed.nn.functional import all_reduce

import methods

# Variants ------------------------------------------------------------------------------------------------------------


def declare(folder: Path, *variants: str) -> list[Variant]:
    lines = ["from support.method_variants import Variant", f"VARIANTS = [{', '.join(variants)}]"]
    (folder / "test_mine.py").write_text("\n".join(lines))
    return declared_variants("mine", folder)


def test_a_method_without_declarations_runs_at_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("")
    for method in ("mine", "other"):
        (found,) = declared_variants(method, tmp_path)
        assert (str(found), found.hyperparameters, found.modalities) == (f"{method}-defaults", {}, 2)


def test_defaults_are_added_to_what_is_declared_unless_they_are_declared_too(tmp_path: Path) -> None:
    found = declare(tmp_path, "Variant('a', {'x': 1}, modalities=3)")
    assert [(str(v), v.hyperparameters, v.modalities) for v in found] == [
        ("mine-defaults", {}, 2), ("mine-a", {"x": 1}, 3),
    ]  # fmt: skip
    found = declare(tmp_path, "Variant('a')", "Variant('defaults', {'x': 2})")
    assert [(str(v), v.hyperparameters) for v in found] == [("mine-a", {}), ("mine-defaults", {"x": 2})]


def test_two_variants_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="variants of mine that have one name: a, b"):
        declare(tmp_path, *(f"Variant('{name}')" for name in "abcab"))


def test_the_first_variant_of_each_path_of_each_method() -> None:
    given = [
        Variant("a", path="p", method="one"),
        Variant("b", path="q", method="one"),
        Variant("c", path="p", method="one"),
        Variant("d", path="p", method="two"),
        Variant("e", method="two"),
        Variant("f", method="two"),
    ]
    assert [variant.name for variant in first_of_each_path(given)] == ["a", "b", "d", "e", "f"]


@pytest.mark.parametrize("method", methods.names())
def test_the_name_of_a_method_selects_none_of_another(method: str) -> None:
    others = [name for name in methods.names() if name != method]
    assert not [str(v) for v in declared_variants(method) for other in others if other in v.name]


# Budget --------------------------------------------------------------------------------------------------------------


def budget(*spent: tuple[str, str, float], slowness: float = 1.0) -> ProcessorBudget:
    found = ProcessorBudget()
    found.add((*each, slowness * FIXED_WORK_SECONDS) for each in spent)
    return found


def test_a_budget_that_is_exceeded_is_told_with_its_method() -> None:
    assert budget(("a", "x", 2.0), *[("a", f"v{k}", 2.0) for k in range(5)]).excesses() == []
    (found,) = budget(("a", "x", 1.0), ("a", "x", 3.2), ("b", "x", 1.6)).excesses()
    assert found.startswith("a-x took 4.2 processor seconds, its budget is 2 (4.0 ")
    (found,) = budget(*[("b", f"v{k}", 3.2) for k in range(8)]).excesses()
    assert found.startswith("b took 25.6 processor seconds, its budget is 12 (24.0 ")


def test_limits_grow_with_a_slow_machine_and_never_shrink() -> None:
    spent = ("a", "x", 7.9)
    assert budget(spent, slowness=2.0).excesses() == []
    assert len(budget(spent, slowness=1.9).excesses()) == 1
    assert budget(("a", "x", 3.9), slowness=0.1).excesses() == []


@pytest.mark.parametrize(
    ("spent", "before", "after"),
    [(4.1, pytest.ExitCode.OK, 1), (3.9, pytest.ExitCode.OK, 0), (4.1, pytest.ExitCode.INTERRUPTED, 2)],
)
def test_a_run_that_exceeds_the_budget_fails(spent: float, before: pytest.ExitCode, after: int) -> None:
    session: Any = SimpleNamespace(exitstatus=before, config=SimpleNamespace())
    budget(("a", "x", spent)).pytest_sessionfinish(session)
    assert session.exitstatus == after


def test_the_table_has_a_line_a_method() -> None:
    lines = budget(("b", "x", 0.5), ("a", "x", 1.0), ("a", "y", 1.25), slowness=1.5).table()
    assert [line.split() for line in lines[1:]] == [
        ["a", "2.2", "y", "1.25", "1.50"],
        ["b", "0.5", "x", "0.50", "1.50"],
    ]


def test_processor_seconds_are_those_of_this_process_and_its_workers(two_workers: Workers) -> None:
    before = processor_seconds()
    own = fixed_work()
    inner = sum(two_workers.run(busy))
    # The system counts a living child's time in hundredths.
    assert processor_seconds() - before > 0.8 * (own + inner)
    assert inner > own


def busy() -> float:
    return sum(fixed_work() for _ in range(100))


# Workers -------------------------------------------------------------------------------------------------------------


def fail_in_the_second() -> None:
    if dist.get_rank() == 1:
        raise LookupError("the second fails")
    dist.barrier()


def end_the_second() -> None:
    if dist.get_rank() == 1:
        os._exit(1)


def worker() -> tuple[int, int, int]:
    return dist.get_rank(), dist.get_world_size(), os.getpid()


def test_two_workers_stay_from_function_to_function_and_are_replaced_after_a_failure(two_workers: Workers) -> None:
    first = two_workers.run(worker)
    assert [(rank, size) for rank, size, _ in first] == [(0, 2), (1, 2)]
    assert two_workers.run(worker) == first
    with pytest.raises(WorkerError, match=r"worker 1 of 2: (.|\n)*LookupError: the second fails"):
        two_workers.run(fail_in_the_second)
    second = two_workers.run(worker)
    assert not {pid for *_, pid in first} & {pid for *_, pid in second}
    with pytest.raises(WorkerError, match="worker 1 of 2: the process is gone"):
        two_workers.run(end_the_second)


def test_any_number_of_workers_is_one_group(three_workers: Workers) -> None:
    assert [(rank, size) for rank, size, _ in three_workers.run(worker)] == [(0, 3), (1, 3), (2, 3)]


def reduce_forth_and_back() -> dict[str, int]:
    weight = torch.ones(3, requires_grad=True)
    with counted_collectives() as counts:
        all_reduce(2 * weight, group=dist.group.WORLD).sum().backward()
        handle = dist.all_reduce(torch.ones(2), async_op=True)
        dist.all_gather([torch.ones(1), torch.ones(1)], torch.ones(1))
    handle.wait()
    dist.all_reduce(torch.ones(1))
    return dict(counts)


def test_collectives_are_counted_in_both_passes(two_workers: Workers) -> None:
    assert two_workers.run(reduce_forth_and_back) == 2 * [{"allreduce": 3, "allgather": 1}]


# Waits for the device ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[0].item(),
        lambda x: x.nonzero(),
        lambda x: x * x.new_tensor([1.0, 2.0]),
        lambda x: x * torch.tensor(2.0, device="meta"),
        lambda x: x * torch.tensor(2.0),
        lambda x: x[[0, 1]],
        lambda x: torch.zeros(2).to(x.device),
        lambda x: x.copy_(torch.zeros(2)),
    ],
)
def test_a_wait_for_the_device_is_refused(wait: Callable[[torch.Tensor], object]) -> None:
    x = torch.zeros(2, device="meta")
    with no_waits():
        (2 * x + x.new_full((), 3) + torch.zeros(2, device="meta"))[:1].sum()
    with pytest.raises(AssertionError, match=r"host|device|tensors of cpu and meta"), no_waits():
        wait(x)


# Equality ------------------------------------------------------------------------------------------------------------


def nested(value: float) -> dict[str, Any]:
    return {"a": [torch.tensor([1.0, value]), {"b": (value, float("nan"), 3, "x")}]}


def test_bit_equality_and_closeness() -> None:
    for equal in (assert_same, assert_close):
        equal(nested(2.0), nested(2.0), "")
        with pytest.raises(AssertionError, match=r"state\.a\[0\]"):
            equal(nested(2.0), nested(2.1), "state")
        with pytest.raises(AssertionError):
            equal({"a": 1}, {"b": 1}, "")
        with pytest.raises(AssertionError):
            equal([1], [1, 2], "")
    assert_close(nested(2.0), nested(2.0001), "")
    with pytest.raises(AssertionError):
        assert_same(nested(2.0), nested(2.0001), "")


def test_a_difference_is_told_with_its_usual_cause() -> None:
    with pytest.raises(AssertionError, match="state") as found, explained("the usual cause"):
        assert_same(1, 2, "state")
    assert found.value.__notes__ == ["the usual cause"]
