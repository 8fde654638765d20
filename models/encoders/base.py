"""What every encoder has: a name, typed options and the width of its feature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

Shape = tuple[int, ...]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class ShapeError(ValueError):
    """An encoder cannot take samples of a shape; the message names both, and what it takes."""


class EncoderOptions(BaseModel):
    """Base of every encoder's options: strict types, unknown names refused, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def weights_may_be_elsewhere(self) -> bool:
        """Tell whether ``pretrained``, of an encoder that has it, may be a name that is looked up elsewhere, where it
        is no path on this machine. Default: it is always a path."""
        return False


class AttentionOptions(EncoderOptions):
    """Base of the options of an encoder whose attention heads share its width."""

    width: int
    heads: int

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        return self


class Encoder(nn.Module):
    """Base of the encoders: ``forward`` maps [B, *shape] to [B, ``out_dim``], for the ``shape`` of one sample that the
    constructor is given. The constructor raises :class:`ShapeError` for a shape that the encoder cannot take; before
    anything is built :meth:`fits` and :meth:`takes` tell which it can.

    Optional, where the network has them: ``stem(x)`` and ``stages``, the network in parts, for fusion between
    stages."""

    name: ClassVar[str]
    Options: ClassVar[type[EncoderOptions]]
    reads_tokens: ClassVar[bool] = False
    """True where samples are token ids with their attention mask, whole numbers, instead of measured numbers."""
    out_dim: int

    @classmethod
    def fits(cls, shape: Shape, options: Any) -> bool:
        """Tell whether the encoder with these options takes samples of ``shape`` (no batch axis)."""
        return True

    @classmethod
    def misfit(cls, shape: Shape, options: Any) -> str | None:
        """Say why the encoder cannot take samples of a ``shape`` that :meth:`fits`, where only trying can tell; None
        where it can."""
        return None

    @classmethod
    def described_by(cls) -> Any:
        """Give the options by which lists describe the encoder: the defaults."""
        return cls.Options()

    @classmethod
    def takes(cls, options: Any) -> str:
        """Say in words which shapes the encoder with these options takes."""
        return "any shape"

    @classmethod
    def stage_count(cls, options: Any) -> int:
        """Count the parts in which the network can be run, for fusion between them; 0 where it has none."""
        return 0

    @classmethod
    def require(cls, shape: Shape, options: Any) -> None:
        """Raise ShapeError where :meth:`fits` is false."""
        if not cls.fits(shape, options):
            raise ShapeError(cls.refusal(shape, options))

    @classmethod
    def refusal(cls, shape: Shape, options: Any) -> str:
        """Say that the encoder cannot take a sample of ``shape``, and which it takes."""
        return f"encoder {cls.name} cannot take a sample of shape {list(shape)}; it takes {cls.takes(options)}"

    @property
    def token_dim(self) -> int:
        """Width D of a token."""
        return self.out_dim

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute what fusions by attention read, [B, *shape] -> tokens [B, L, D], and which of them count, bool
        [B, L], at least one of a sample. Default: the feature is the only token."""
        return all_count(self(x).unsqueeze(1))

    def blank(self, x: Tensor) -> Tensor:
        """Make an input that says nothing, of the shape, type and device of x: zeros, which are also what data are
        padded with. Of a text it is padding without a token."""
        return torch.zeros_like(x)


def all_count(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return tokens [B, L, D] and the mask of them that leaves none out, bool [B, L]."""
    return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)


def places(maps: Tensor, batch: int) -> Tensor:
    """Turn maps [B, C, ...] into the vectors of their places, [B, L, C]; those of frames that are folded into the
    batch, [B T, C, ...], into [B, T L, C]."""
    vectors = maps.flatten(2).transpose(1, 2)
    frames = len(maps) // batch if batch else 1
    return vectors.reshape(batch, frames * vectors.shape[1], vectors.shape[2])
