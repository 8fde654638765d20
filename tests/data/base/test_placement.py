"""What is moved, and how: a copy from the host to a GPU goes through pinned memory, and nobody waits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.device_waits import META

from data.base.placement import batch_memory, gathered, moved


class Copies:
    """Copies of tensors that are asked for and not made, as without a GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.pinned = list[tuple[str, bool]](), 0
        monkeypatch.setattr(torch.Tensor, "to", self._to)
        monkeypatch.setattr(torch.Tensor, "pin_memory", self._pin)
        self._torch_empty = torch.empty
        monkeypatch.setattr(torch, "empty", self._empty)

    def _to(self, device: torch.device, *, non_blocking: bool = False) -> Any:
        self.asked.append((torch.device(device).type, non_blocking))
        return "there"

    def _pin(self) -> torch.Tensor:
        self.pinned += 1
        return torch.zeros(2)

    def _empty(self, *shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        self.pinned += pin_memory
        return self._torch_empty(*shape, **options)


@pytest.mark.parametrize(
    ("values", "device", "pinned"),
    [
        (torch.zeros(2), "cuda", 1),
        (torch.zeros(2), torch.device("cuda", 1), 1),
        (torch.zeros(2), "cpu", 0),
        (torch.zeros(2, device=META), "cuda", 0),
    ],
)
def test_only_from_the_host_to_a_gpu_memory_is_pinned(
    values: torch.Tensor, device: Any, pinned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = Copies(monkeypatch)
    assert moved(values, device) == "there"  # type: ignore[comparison-overlap]
    assert copies.pinned == pinned
    assert copies.asked == [(torch.device(device).type, True)]


def test_what_is_there_stays_where_it_is() -> None:
    values = torch.arange(3)
    assert moved(values, "cpu") is values
    assert moved(values, META).device == META


@pytest.mark.parametrize("values", [torch.arange(24.0).view(4, 2, 3), torch.arange(4), torch.eye(4).bool()], ids=str)
@pytest.mark.parametrize(
    "index", [torch.tensor([3, 0, 3]), torch.tensor([[1], [2]]), torch.tensor([], dtype=torch.int64)]
)
def test_rows_are_gathered_in_the_order_and_shape_of_the_index(values: torch.Tensor, index: torch.Tensor) -> None:
    found = gathered(values, index, "cpu")
    assert found.dtype == values.dtype
    assert torch.equal(found, values[index])
    there = gathered(values.to(META), index, META)
    assert (there.device, there.shape, there.dtype) == (META, found.shape, found.dtype)


@pytest.mark.parametrize(("device", "pinned"), [("cuda", 1), ("cpu", 0)])
def test_rows_for_a_gpu_are_written_into_pinned_memory_at_once(
    device: str, pinned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = Copies(monkeypatch)
    assert gathered(torch.arange(6).view(3, 2), torch.tensor([2, 0]), device) == "there"  # type: ignore[comparison-overlap]
    assert copies.pinned == pinned
    assert copies.asked == [(device, True)]
    assert batch_memory((2, 3), torch.uint8, device).shape == (2, 3)
    assert copies.pinned == 2 * pinned
