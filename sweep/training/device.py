"""The device that a run computes on: which it is, how exactly it computes, and what of the data lives there."""

from __future__ import annotations

import os
import weakref
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from data.base import Dataset, Split
from methods.base import Method
from sweep.training.recipe import Recipe

DATA_SHARE = 0.25
"""Largest part of a run's share of a GPU that its dataset may take to live there."""
COMPILER = "inductor"
"""Backend of ``torch.compile``."""


def pick_device(recipe: Recipe) -> torch.device:
    """Pick the recipe's device; auto takes the current GPU where there is one. Raises ValueError for cuda without
    GPU."""
    available = torch.cuda.is_available()
    if recipe.device == "cuda" and not available:
        raise ValueError("train.device is cuda but torch sees no GPU; use device: auto, or ask for resources.gpus")
    if not available or recipe.device == "cpu":
        return torch.device("cpu")
    # With its number: some of torch's functions take no other, and it is how tensors name where they are.
    return torch.device("cuda", torch.cuda.current_device())


def set_up(device: torch.device, recipe: Recipe, share: float = 1.0) -> None:
    """Make this process compute as the recipe says, with no more of the GPU's memory than a share of it in (0, 1].

    Anew for each run, since runs of one process may differ. What the recipe does not ask for is switched off only where
    an earlier run had switched it on: the settings of a user's own process stay."""
    _be_deterministic(recipe.deterministic)
    if device.type != "cuda":
        return
    # Read by cuBLAS once, when it is first used: so before any run, for a later one may have to be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # torch's own default rounds in convolutions, and in nothing else.
    rounded = recipe.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = rounded
    torch.backends.cudnn.allow_tf32 = rounded
    _bound_memory(device, share)


_bounded_memory = False
"""Whether it was a run that bounded the memory of this process."""


def _bound_memory(device: torch.device, share: float) -> None:
    global _bounded_memory
    if share < 1 or _bounded_memory:
        torch.cuda.set_per_process_memory_fraction(share, device)
    _bounded_memory = share < 1


_deterministic_runs = False
"""Whether it was a run that made this process deterministic."""


def _be_deterministic(asked: bool) -> None:
    global _deterministic_runs
    if asked and not torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(True)
        _deterministic_runs = True
    elif not asked and _deterministic_runs:
        torch.use_deterministic_algorithms(False)
        _deterministic_runs = False


def placed_method(method: Method, device: torch.device, recipe: Recipe) -> Method:
    """Move a method to the device, in the form that is fastest there; compile its encoders where the recipe says so."""
    method = method.to(device)
    if device.type == "cuda" and recipe.precision != "fp32":
        # The tensor cores read channels last, and compute in less than single precision alone.
        put_channels_last(method)
    if recipe.compile:
        for encoder in method.encoders.values():
            encoder.compile(backend=COMPILER, dynamic=False)
    return method


def compiled_encoders(recipe: Recipe, used: bool) -> AbstractContextManager[object]:
    """Use the compiled form of a run's encoders meanwhile, or their own.

    Each other size or mode of a batch would be compiled by itself, which takes longer than it ever saves: so steps on
    whole batches use it and nothing else does. Of a run that compiles nothing this changes nothing."""
    if not recipe.compile:
        return nullcontext()
    return torch.compiler.set_stance("default" if used else "force_eager")


def put_channels_last(module: nn.Module) -> None:
    """Lay the weights of 2-D convolutions out with the channels last, in place: their outputs follow, whatever lies
    before them. Values and ``state_dict`` stay."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for each in module.modules():
        if isinstance(each, nn.Conv2d) and each.in_channels == 1:
            each.register_forward_pre_hook(_with_channels_last)


def _with_channels_last(convolution: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    """Write down of one channel that it comes last. In memory it does so anyway, but torch goes by the strides, and
    would turn the whole gradient of the output round."""
    (x,) = inputs
    if x.shape[-3] != 1 or not x.is_contiguous():
        return x
    height, width = x.shape[-2:]
    return x.as_strided(x.shape, (*x.stride()[:-3], 1, width, 1)) if height * width else x


# Data on the device ------------------------------------------------------------------------------------------------


class ResidentDataset:
    """The dataset that lives on the device, kept for the next run of this process that reads it; another one takes its
    place."""

    def __init__(self) -> None:
        self._source: weakref.ref[Dataset] | None = None
        self._device: torch.device | None = None
        self._placed: Dataset | None = None

    def place(self, dataset: Dataset, device: torch.device, limit: float) -> Dataset:
        """Return the dataset with its splits on the device where they take at most ``limit`` bytes, else with their
        labels there alone: steps and metrics read these on the device."""
        kept = self._source() if self._source is not None else None
        if kept is dataset and self._device == device and self._placed is not None:
            return self._placed
        self.forget()
        splits = (dataset.train, dataset.validation, dataset.test)
        if fits := sum(split.nbytes for split in splits) <= limit:
            train, validation, test = (split.to(device) for split in splits)
        else:
            train, validation, test = (Split(split.inputs, split.labels.to(device)) for split in splits)
        placed = replace(dataset, train=train, validation=validation, test=test)
        if fits:
            self._source, self._device, self._placed = weakref.ref(dataset, self._end), device, placed
        return placed

    def holds(self, placed: Dataset) -> bool:
        """Tell whether it is this dataset, as :meth:`place` returned it, that lives on the device."""
        return self._placed is placed

    def forget(self) -> None:
        """Free what is kept."""
        self._source = self._device = self._placed = None

    def _end(self, source: weakref.ref[Dataset]) -> None:
        # A dead reference may be that of a dataset which another has replaced.
        if source is self._source:
            self.forget()


_resident = ResidentDataset()


def placed_dataset(dataset: Dataset, device: torch.device, share: float = 1.0) -> Dataset:
    """Put a dataset where a run on the device reads it: on a GPU where it takes at most ``DATA_SHARE`` of the run's
    share of it (what others use of the card at the moment does not count), else on the host."""
    if device.type != "cuda":
        return dataset
    return _resident.place(dataset, device, DATA_SHARE * share * torch.cuda.get_device_properties(device).total_memory)


def reads_from_host(placed: Dataset, device: torch.device) -> bool:
    """Tell whether the batches of a dataset, as :func:`placed_dataset` returned it, come from the host."""
    return device.type == "cuda" and not _resident.holds(placed)
