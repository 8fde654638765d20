"""Numbers that a step computes on the device and a later step decides by on the host, without waiting."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor


class DelayedNumbers:
    """A whole number a step, 0-d int64, which the host reads when the step after has been launched, too.

    By then the device has computed it, so nothing waits; and a decision lags by one step on every device alike."""

    LAG = 1

    def __init__(self) -> None:
        self._waiting: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def put(self, number: Tensor) -> None:
        """Begin to copy the number of the present step to the host."""
        arrived = None
        if number.is_cuda:
            number = torch.empty((), dtype=number.dtype, pin_memory=True).copy_(number, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._waiting.append((number, arrived))

    def take(self) -> int | None:
        """Read the number of the step before the last, once; None where there is none. Called at a step's start."""
        if len(self._waiting) <= self.LAG:
            return None
        number, arrived = self._waiting.popleft()
        if arrived is not None:
            arrived.synchronize()
        return int(number)

    def forget(self) -> None:
        """Forget what has not been read."""
        self._waiting.clear()

    def state_dict(self) -> list[int]:
        """Give what has not been read, the oldest first."""
        for _, arrived in self._waiting:
            if arrived is not None:
                arrived.synchronize()
        return [int(number) for number, _ in self._waiting]

    def load_state_dict(self, state: list[int]) -> None:
        self._waiting = deque((torch.tensor(number), None) for number in state)
