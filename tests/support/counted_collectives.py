"""The collectives that a piece of code starts, of every process group, in forward and backward passes alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Collective(NamedTuple):
    """One collective: torch's name of it (allreduce, allgather, broadcast), type and number of what it transports."""

    name: str
    dtype: torch.dtype
    numbers: int


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Collective] = []
        self.counts: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes seconds in each process

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace == "c10d":
            name = function.overloadpacket.__name__.strip("_")
            tensors = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
            self.seen.append(Collective(name, tensors[0].dtype, sum(tensor.numel() for tensor in tensors)))
            self.counts[name] += 1
        return function(*args, **(kwargs or {}))


@contextmanager
def counted_collectives() -> Iterator[Counter[str]]:
    """Count what is started inside: torch's name of a collective -> how often."""
    with _Recording() as mode:
        yield mode.counts


@contextmanager
def recorded_collectives() -> Iterator[list[Collective]]:
    """Record what is started inside, in its order."""
    with _Recording() as mode:
        yield mode.seen
