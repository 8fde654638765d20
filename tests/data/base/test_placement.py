"""What is moved, and how: a copy from the host to a GPU goes through pinned memory, and nobody waits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.device_waits import META

from data.base.placement import moved


class Copies:
    """Copies of tensors that are asked for and not made, as without a GPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked, self.pinned = list[tuple[str, bool]](), 0
        monkeypatch.setattr(torch.Tensor, "to", self._to)
        monkeypatch.setattr(torch.Tensor, "pin_memory", self._pin)

    def _to(self, device: torch.device, *, non_blocking: bool = False) -> Any:
        self.asked.append((torch.device(device).type, non_blocking))
        return "there"

    def _pin(self) -> torch.Tensor:
        self.pinned += 1
        return torch.zeros(2)


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
