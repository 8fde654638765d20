"""Operations that make a step wait for the device: numbers that the host reads, and copies between host and device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "_unique2"}
"""torch's operations whose result depends on values that the host must know."""
CONSTANTS = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, Tensor.new_tensor)
"""Functions that copy numbers of the host into a tensor."""


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        assert name not in READS, f"{name} reads numbers of the device"
        result = function(*args, **(kwargs or {}))
        devices = {each.device.type for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)}
        assert len(devices) < 2, f"{name} works on tensors of {' and '.join(sorted(devices))}"
        return result


class _Constants(TorchFunctionMode):
    """On the meta device constants reach no operation that the other mode sees."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function not in CONSTANTS, f"{function.__name__} copies numbers of the host"
        if function is Tensor.__getitem__:
            lists = [each for each in tree_leaves(args[1], is_leaf=_is_list) if _is_list(each)]
            assert not lists, "an index that is a list copies numbers of the host"
        return function(*args, **(kwargs or {}))


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


@contextmanager
def no_waits() -> Iterator[None]:
    """Fail where something inside waits for the device. For modules and tensors on the ``meta`` device, where a copy
    from the host shows."""
    with _Constants(), _Operations():
        yield
