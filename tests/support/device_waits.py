"""Operations that make a step wait for the device: numbers that the host reads, and copies between host and device.

Seen on torch's ``meta`` device, which computes nothing."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "_unique2"}
"""torch's operations whose result depends on values that the host must know."""
CONSTANTS = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, Tensor.new_tensor)
"""Functions that copy numbers of the host into a tensor."""
ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("methods", "models", "data", "sweep")


class _Operations(TorchDispatchMode):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes seconds

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if name in READS and any(each.device == META for each in given):
            said = f"{name} reads numbers of the device, at {_line()}"
            assert name == "_local_scalar_dense", said  # the others give tensors whose shape nobody knows there
            self.found[said] += 1
            return 0
        result = function(*args, **(kwargs or {}))
        devices = {each.device.type for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)}
        if len(devices) > 1:
            self.found[f"{name} works on tensors of {' and '.join(sorted(devices))}, at {_line()}"] += 1
        return result


class _Constants(TorchFunctionMode):
    """On the meta device constants reach no operation that the other mode sees."""

    def __init__(self, found: Counter[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in CONSTANTS and _copies_to_meta(args, kwargs or {}):
            self.found[f"{function.__name__} copies numbers of the host, at {_line()}"] += 1
        if function is Tensor.__getitem__ and any(_is_list(i) for i in tree_leaves(args[1], is_leaf=_is_list)):
            self.found[f"an index that is a list copies numbers of the host, at {_line()}"] += 1
        return function(*args, **(kwargs or {}))


def _copies_to_meta(args: Any, kwargs: Any) -> bool:
    """Tell whether a function of constants is given any, and puts them on the device."""
    *owner, numbers = args
    device = kwargs.get("device") or (owner[0].device if owner else "cpu")
    return not isinstance(numbers, Tensor) and torch.device(device) == META


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _line() -> str:
    """Name the line of the project that called torch."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in ROOMS:
            return f"{path.relative_to(ROOT)}:{frame.lineno}"
    return "a test"


@contextmanager
def counted_waits() -> Iterator[Counter[str]]:
    """Count what inside waits for the device. For modules and tensors on the ``meta`` device, where a copy from the
    host shows."""
    found = Counter[str]()
    with _Constants(found), _Operations(found):
        yield found


@contextmanager
def no_waits() -> Iterator[None]:
    """Fail where something inside waits for the device."""
    with counted_waits() as found:
        yield
    assert not found, "; ".join(found)


@contextmanager
def autocast_that_knows_meta() -> Iterator[None]:
    """Let blocks ask for a precision on the meta device, of which torch's autocast knows nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
        yield
