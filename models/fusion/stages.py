"""What the fusions between the stages of convolutional encoders (``channel``) share.

C_m: channels of modality m's maps F_m, [B, C_m, spatial...]. An encoder that folds the T frames of a clip into the
batch gives maps [B T, C_m, H, W]; they count as [B, C_m, T, H, W]. A feature [B, C_m] is a map without places."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models import encoders as declared
from models.encoders import Shape
from models.fusion.base import Fusion, FusionOutput, apply, heads


def squeeze(features: Tensor) -> Tensor:
    """Average over all spatial and temporal axes: [B, C, ...] -> [B, C]."""
    return features if features.dim() == 2 else features.flatten(2).mean(2)


def squeeze_clips(maps: Tensor, batch: int) -> Tensor:
    """Average over space and time of a clip: [B, C, ...], or [B T, C, ...] with its frames side by side -> [B, C]."""
    return squeeze(maps).unflatten(0, (batch, frames(maps, batch))).mean(1)


def frames(maps: Tensor, batch: int) -> int:
    """Count the frames T of a clip in maps [B T, C, ...]."""
    return len(maps) // batch if batch else 1


def keep(features: list[Tensor], present: Sequence[bool]) -> list[Tensor]:
    """Put zeros in the place of what is not present."""
    return [x if there else torch.zeros_like(x) for x, there in zip(features, present, strict=True)]


def channel_refusal(mode: str, specs: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, Shape]) -> str | None:
    """Say why ``channel`` cannot mix the maps of encoders, before any is built; None where nothing speaks against it.

    mode: mmtm or cen. specs: modality -> encoder, as for :func:`models.encoders.resolve`. shapes: modality -> shape of
    a sample, as far as it is known."""
    counts = {modality: declared.stage_count(spec) for modality, spec in specs.items()}
    if mode == "mmtm" and not all(counts.values()):
        return None
    for modality, count in counts.items():
        if not count:
            fitting = declared.staged()
            if modality in shapes:
                fitting = [name for name in fitting if name in declared.fitting(shapes[modality])]
            other = f"give it {' or '.join(fitting)}, or use mmtm" if fitting else "use mmtm"
            found = f"{specs[modality]['name']}, the encoder of {modality}, has none"
            return f"channel_mode cen exchanges channels between an encoder's stages, and {found}; {other}"
    listed = ", ".join(f"{modality} {counts[modality]} ({specs[modality]['name']})" for modality in specs)
    if len(set(counts.values())) > 1:
        return f"fusion channel needs encoders with equally many stages, and these have: {listed}; give all the same"
    if mode != "cen":
        return None
    if len({spec["name"] for spec in specs.values()}) > 1:
        return f"channel_mode cen needs encoders of one architecture, and these are: {listed}; give all the same"
    sizes = {modality: list(shapes[modality][1:]) for modality in specs if modality in shapes}
    if len(set(map(tuple, sizes.values()))) > 1:
        found = ", ".join(f"{modality} {size}" for modality, size in sizes.items())
        return f"channel_mode cen exchanges channels between maps of one size, and samples have: {found}; use mmtm"
    return None


class ChannelFusion(Fusion):
    """Base of the fusions between stages: all encoders run side by side; a linear head each on the pooled last maps.

    encoders: with ``stem(x)``, ``stages`` (equally many) and ``out_dim``, the channels of the last stage; their own
    ``forward`` is not used. owns_encoders: whether they are submodules; False where the caller holds them, so that a
    ``state_dict`` holds them once. Where the fusion allows encoders without stages and one has none, each counts as
    one stage, whose map is its feature. Raises ValueError for encoders without stages or with unequally many."""

    has_native = True
    one_a_modality = ("heads",)
    min_modalities = 2
    needs_stages = True
    encoders: Sequence[Any]
    staged: bool
    """False where encoders count as one stage each."""

    def __init__(
        self, encoders: Sequence[nn.Module], num_classes: int, *, owns_encoders: bool = True, **shared: Any
    ) -> None:
        staged = [hasattr(encoder, "stem") and hasattr(encoder, "stages") for encoder in encoders]
        if self.needs_stages and not all(staged):
            number = staged.index(False)
            raise ValueError(
                f"fusion {self.name} mixes the maps between an encoder's stages, and encoder {number + 1} "
                f"({type(encoders[number]).__name__}) has no stem and stages: "
                f"use {' or '.join(declared.staged())}, or another fusion"
            )
        dims = [int(encoder.out_dim) for encoder in encoders]  # type: ignore[arg-type]
        super().__init__(dims, num_classes, **shared)
        self.encoders = nn.ModuleList(encoders) if owns_encoders else tuple(encoders)  # type: ignore[assignment]
        self.staged = all(staged)
        counts = [len(self.stages(encoder)) for encoder in self.encoders]
        if len(set(counts)) > 1 or not counts[0]:
            raise ValueError(f"fusion {self.name} needs encoders with equally many stages, these have {counts}")
        self.heads = heads(dims, num_classes)

    def stages(self, encoder: Any) -> Sequence[nn.Module]:
        """List the parts of an encoder after which maps are mixed."""
        return encoder.stages if self.staged else [encoder]

    def forward(self, inputs: list[Tensor]) -> FusionOutput:
        """Fuse the M raw inputs [B, ...]."""
        return self.fuse(self.encode(inputs))

    @abstractmethod
    def fuse(self, features: list[Tensor], present: Tensor | None = None) -> FusionOutput:
        """Fuse the pooled maps [B, d_m] that ``encode`` gives. present: bool [M] or [B, M], the others are zeroed."""

    def encode(self, inputs: list[Tensor], present: Sequence[bool] | None = None) -> list[Tensor]:
        """Compute the pooled last maps [B, d_m] of the M raw inputs [B, ...]. present: which modalities count; zeros
        stand for what the others would let them know, and for the others' pooled maps."""
        present = [True] * len(inputs) if present is None else present
        maps = inputs
        if self.staged:
            maps = [encoder.stem(x) for encoder, x in zip(self.encoders, inputs, strict=True)]
        for number, stages in enumerate(zip(*map(self.stages, self.encoders), strict=True)):
            maps = self._stage(number, stages, maps, len(inputs[0]), present)
        return keep([squeeze_clips(x, len(inputs[0])) for x in maps], present)

    @abstractmethod
    def _stage(
        self, number: int, stages: Sequence[nn.Module], maps: list[Tensor], batch: int, present: Sequence[bool]
    ) -> list[Tensor]:
        """Compute the maps of all modalities after stage ``number`` (from 0), mixed."""

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        return apply(self.heads, features)
