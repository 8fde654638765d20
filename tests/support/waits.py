"""Where a training step would wait for a GPU, seen on torch's ``meta`` device, which computes nothing."""

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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
ROOT = Path(__file__).resolve().parents[2]


class Waits(TorchDispatchMode):
    """Counts copies between the host and the device, and numbers read off the device, by where they are made."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        if name == "_local_scalar_dense" and given[0].device == META:
            self.found[f"read at {_line()}"] += 1
            return 0
        result = function(*args, **kwargs)
        devices = {each.device.type for each in [*given, *_tensors(result)]}
        # Numbers without dimensions take part in an operation on a device without a copy.
        if len(devices) > 1 and name in ("_to_copy", "copy_"):
            self.found[f"copy at {_line()}"] += 1
        return result


def _tensors(result: Any) -> list[Tensor]:
    return [each for each in tree_leaves(result) if isinstance(each, Tensor)]


def _line() -> str:
    """Name the line of the project that called torch."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.parts[len(ROOT.parts)] in ("methods", "models", "data", "sweep"):
            return f"{path.relative_to(ROOT)}:{frame.lineno}"
    return "?"


@contextmanager
def counted_waits() -> Iterator[Counter[str]]:
    """Count the waits of a block."""
    with Waits() as mode:
        yield mode.found


@contextmanager
def autocast_that_knows_meta() -> Iterator[None]:
    """Let blocks ask for a precision on the meta device, of which torch's autocast knows nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
        yield
