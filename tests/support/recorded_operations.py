"""A recorder for a CPU: what a graph of a GPU does with a step, done by repeating torch's operations one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "_unique2"}
"""Operations whose result the host reads, which no graph can hold."""

Operation = tuple[bool, Any, Any, Any, list[Tensor]]
"""Whether gradients were enabled, a function of torch, what it was given, and the tensors that it gave."""


class RecordedOperations:
    """A :class:`sweep.training.step_graphs.Recorder`. As in a graph, each operation reads and writes the memory that it
    read and wrote when it was recorded, and whatever Python did meanwhile happens no more."""

    def record(self, operations: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        """Return the tensor that ``operations`` give, and what does them again. Raises RuntimeError where one of them
        reads a number of the device."""
        kept, drawn = _Changes(), torch.get_rng_state()
        with kept, pytest.MonkeyPatch.context() as patch:
            patch.setattr(F, "one_hot", one_hot)
            found = operations()
        torch.set_rng_state(drawn)
        kept.undo()
        return found, kept.repeat


class _Changes(TorchDispatchMode):
    """Notes operations, and what the tensors that they change held before."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Operation] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes seconds

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function.overloadpacket.__name__ in READS:
            raise RuntimeError(f"{function} reads a number of the device while a step is recorded")
        for argument in changed_arguments(function, args, kwargs):
            memory = argument.untyped_storage()
            if memory.data_ptr() not in self.before:
                self.before[memory.data_ptr()] = memory, memory.clone()
        found = function(*args, **kwargs)
        grad = torch.is_grad_enabled()
        self.done.append(
            (grad, function, args, kwargs, [each for each in tree_leaves(found) if isinstance(each, Tensor)])
        )
        return found

    def undo(self) -> None:
        """Put back what the operations have changed: recording does nothing."""
        for changed, before in self.before.values():
            changed.copy_(before)

    def repeat(self) -> None:
        """Do the operations again, in the memory of the first time."""
        with torch._C._AutoDispatchBelowAutograd():
            for grad, function, args, kwargs, held in self.done:
                with torch.set_grad_enabled(grad):
                    found = [each for each in tree_leaves(function(*args, **kwargs)) if isinstance(each, Tensor)]
                for before, now in zip(held, found, strict=True):
                    if now.untyped_storage().data_ptr() != before.untyped_storage().data_ptr():
                        before.detach().copy_(now)


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Compute what torch's function of this name does, which looks at the labels on a CPU alone."""
    found = torch.zeros(*labels.shape, num_classes, dtype=torch.int64, device=labels.device)
    return found.scatter_(-1, labels.unsqueeze(-1), 1)


def changed_arguments(function: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """List the tensors that an operation writes into."""
    schema = function._schema.arguments
    given = dict(zip((argument.name for argument in schema), args, strict=False)) | dict(kwargs)
    written = [a.name for a in schema if a.alias_info is not None and a.alias_info.is_write]
    return [each for name in written for each in tree_leaves(given.get(name)) if isinstance(each, Tensor)]
