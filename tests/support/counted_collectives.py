"""The collectives that a piece of code starts, counted by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace == "c10d":
            self.counts[function.overloadpacket.__name__.strip("_")] += 1
        return function(*args, **(kwargs or {}))


@contextmanager
def counted_collectives() -> Iterator[Counter[str]]:
    """Count what is started inside, in forward and backward passes alike: torch's name of a collective (allreduce,
    allgather, broadcast) -> how often."""
    with _Counting() as mode:
        yield mode.counts
