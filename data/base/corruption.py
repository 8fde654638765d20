"""What may be done to a modality of any dataset, to ask how much a method leans on it: the options alone.

``data.base.corrupted`` does it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Corruption(BaseModel):
    """How one modality is corrupted. What is drawn depends on ``split_seed`` and the sample's place in its split alone;
    a larger share takes the samples of a smaller one and more."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    noise: float = Field(0.0, ge=0, description="deviation of normal noise, in deviations of the training values")
    share: float = Field(1.0, ge=0, le=1, description="share of the samples that get the noise")
    drop: float = Field(0.0, ge=0, le=1, description="share of the samples that lack the modality")
    segment: bool = Field(False, description="drop is a contiguous share of each sample's time instead")
    shuffle: float = Field(0.0, ge=0, le=1, description="share of the samples that exchange the modality")
    where: Literal["test", "all"] = Field("test", description="the test split alone, or all three splits")

    def without_idle(self) -> Corruption | None:
        """Return the same corruption with every option that changes nothing at its default; None where none does."""
        noisy, dropped = bool(self.noise and self.share), bool(self.drop)
        if not (noisy or dropped or self.shuffle):
            return None
        idle = {} if noisy else {"noise": 0.0, "share": 1.0}
        return self.model_copy(update=idle if dropped else idle | {"segment": False})


def time_axis(shape: Sequence[int]) -> int | None:
    """Tell which axis of a sample of ``shape`` is time: of [C, T] and [1, F, T] the last, of frames [C, T, H, W] the
    second; of a picture [C, H, W] its columns stand for it. None for a vector."""
    return {2: 1, 3: 2, 4: 1}.get(len(shape))


def modality_refusal(modality: str, modalities: Sequence[str]) -> str | None:
    """Say that there is no such modality, with the nearest name; None where there is."""
    if modality in modalities:
        return None
    near = get_close_matches(modality, modalities, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"no modality called {modality!r}; {hint}There are: {', '.join(modalities)}"


def sample_refusal(corruption: Corruption, shape: Sequence[int], tokens: bool) -> str | None:
    """Say why samples of ``shape`` cannot be corrupted so; None where they can. tokens: they hold token ids."""
    if corruption.noise and tokens:
        return "token ids are names, to which no noise can be added; use drop or shuffle"
    if corruption.segment and corruption.drop and time_axis(shape) is None:
        return f"samples of shape {list(shape)} have no time of which a segment could be dropped; leave segment out"
    return None
