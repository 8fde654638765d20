"""Operations that make a step wait for the device: numbers that the host reads, and copies between host and device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "_unique2"}
_NEW_CONSTANTS = {"lift_fresh"}
"""torch's operation behind ``torch.tensor`` and ``new_tensor``."""


class _Refusing(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        result = function(*args, **(kwargs or {}))
        devices = {each.device.type for each in tree_leaves((args, kwargs, result)) if isinstance(each, torch.Tensor)}
        assert name not in _READS | _NEW_CONSTANTS, f"{name} makes the host and the device wait for each other"
        assert len(devices) < 2, f"{name} works on tensors of {' and '.join(sorted(devices))}"
        return result


@contextmanager
def no_waits() -> Iterator[None]:
    """Fail where something inside waits for the device. For modules and tensors on the ``meta`` device: on a real one,
    or on the CPU, copies between devices would not show, or would be harmless."""
    with _Refusing():
        yield
