"""Optimizers of torch, without what takes longest to import."""

from __future__ import annotations

import inspect
from typing import Any

import torch


def without_compiler(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Derive an optimizer that computes the same and does not import torch's compiler, which nothing here uses.

    Torch wraps these methods in words to its compiler. To say them it imports it: two seconds of each process that
    trains, and an error where the system knows no name of the user, as in a container."""
    wrapped = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in wrapped}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)
