"""Weights to start from: reading files of them, and loading them with an account of what fitted."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

Renaming = tuple[str, str | Callable[[re.Match[str]], str] | None]
"""A pattern for the beginning of a tensor's name, and what takes its place; None: the tensor is of a part of the
network that is not built here."""
Resize = Literal["drop", "average"]
UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, SafetensorError)
"""What torch and safetensors raise for files that are damaged, or none of theirs."""


@dataclass(frozen=True)
class LoadReport:
    """Which names of a checkpoint went into a module, and which did not."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """In the module, not in the checkpoint: they keep their random values."""
    unexpected: tuple[str, ...]
    """In the checkpoint, not in the module."""
    left_out: tuple[str, ...]
    """The input layer, where it is for another number of channels: it keeps its random values."""
    averaged: tuple[str, ...] = ()
    """The input layer, where its mean over the checkpoint's channels was loaded; one of ``loaded``, too."""

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.left_out or self.averaged)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for what in ("missing", "unexpected", "left_out", "averaged"):
            if names := getattr(self, what):
                parts.append(f"{what.replace('_', ' ')}: {', '.join(names)}")
        return "; ".join(parts)

    def tell(self, pretrained: str) -> None:
        """Warn where not everything fitted."""
        if not self.complete:
            warnings.warn(f"{pretrained}: {self}", stacklevel=3)


def load_weights(
    module: nn.Module, weights: Mapping[str, Tensor], input_layer: str | None = None, resize: Resize = "drop"
) -> LoadReport:
    """Load what fits of ``weights`` (name -> tensor; a leading ``module.``, which data-parallel training leaves, is
    dropped) and report the rest.

    input_layer: name of the weight [outputs, channels, ...] that may have another shape, since inputs differ in
    channels. resize: what becomes of it then: "drop" leaves it random; "average" loads its mean over the checkpoint's
    channels, scaled so that an input of equal channels gives what it gave before. Raises ValueError where nothing
    fits, or where another tensor has a different shape: then it is not a checkpoint of this module."""
    weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    own = module.state_dict()
    shared = [name for name in weights if name in own]
    resized = [name for name in shared if weights[name].shape != own[name].shape]
    averaged: tuple[str, ...] = ()
    if resize == "average" and input_layer is not None and input_layer in resized:
        found, wanted = weights[input_layer], own[input_layer]
        if found.shape[:1] == wanted.shape[:1] and found.shape[2:] == wanted.shape[2:]:
            scale = found.shape[1] / wanted.shape[1]
            weights[input_layer] = (found.mean(1, keepdim=True) * scale).expand_as(wanted)
            averaged = (input_layer,)
            resized.remove(input_layer)
    if wrong := [name for name in resized if name != input_layer or resize == "average"]:
        raise another_network(wrong[0], weights[wrong[0]].shape, own[wrong[0]].shape)
    fitting = {name: weights[name] for name in shared if name not in resized}
    if not fitting:
        raise nothing_fits(weights, own)
    result = module.load_state_dict(fitting, strict=False)
    missing = tuple(name for name in result.missing_keys if name not in resized)
    unexpected = tuple(name for name in weights if name not in own)
    return LoadReport(tuple(fitting), missing, unexpected, tuple(resized), averaged)


def another_network(name: str, found: Iterable[int], wanted: Iterable[int]) -> ValueError:
    return ValueError(f"the checkpoint is of another network: {name} is {list(found)} there, {list(wanted)} here")


def nothing_fits(weights: Iterable[str], own: Iterable[str]) -> ValueError:
    return ValueError(
        f"nothing in the checkpoint fits: it has {', '.join(list(weights)[:3]) or 'no tensors'}, ...; "
        f"wanted are {', '.join(list(own)[:3])}, ..."
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name: safetensors, or what ``torch.save`` wrote of a ``state_dict``, alone or as
    the entry ``state_dict`` or ``model`` of a dictionary; without a leading ``module.``. Raises ValueError."""
    weights: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ValueError(
            f"pretrained: {path} cannot be read as weights ({first_line(error)}); "
            "wanted is a state_dict, written by torch.save or as safetensors"
        ) from error
    for entry in ("state_dict", "model"):
        if isinstance(weights, dict) and isinstance(weights.get(entry), dict):
            weights = weights[entry]
    if not isinstance(weights, dict):
        raise ValueError(f"pretrained: {path} holds no dictionary of tensors")
    return {name.removeprefix("module."): tensor for name, tensor in weights.items() if isinstance(tensor, Tensor)}


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def absence(pretrained: str, elsewhere: bool) -> str | None:
    """Say that there is no file or folder ``pretrained`` to start from; None where there is. elsewhere: it may be a
    name that is looked up elsewhere, so that None is said, too."""
    there = Path(pretrained).expanduser().exists()
    return None if there or elsewhere else f"pretrained: there is no file or folder {pretrained}"


def may_be_of_hub(pretrained: str) -> bool:
    """Tell whether a text may be a name of the Hugging Face hub, MODEL or OWNER/MODEL, rather than a path."""
    return not pretrained.startswith(("/", ".", "~")) and pretrained.count("/") < 2


def local_weights(pretrained: str) -> dict[str, Tensor]:
    """:func:`read_weights` of what must be a file. Raises ValueError."""
    path = Path(pretrained).expanduser()
    if not path.is_file():
        raise ValueError(f"pretrained: there is no file {pretrained}; give the path of a local file, or null")
    return read_weights(path)


def rename(weights: Mapping[str, Tensor], rules: Iterable[Renaming]) -> dict[str, Tensor]:
    """Put ``weights`` under the names that the first fitting of ``rules`` gives; names that none fits stay."""
    compiled = [(re.compile(pattern), new) for pattern, new in rules]
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        fitting = next(((pattern, new) for pattern, new in compiled if pattern.match(name)), None)
        if fitting is None:
            renamed[name] = tensor
        elif fitting[1] is not None:
            renamed[fitting[0].sub(fitting[1], name, count=1)] = tensor
    return renamed
