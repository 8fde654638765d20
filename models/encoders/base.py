"""What every encoder has: a name, typed options and the width of its feature."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import nn

Shape = tuple[int, ...]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class EncoderOptions(BaseModel):
    """Base of every encoder's options: strict types, unknown names refused, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Encoder(nn.Module):
    """Base of the encoders: ``forward`` maps [B, *shape] to [B, ``out_dim``], for the ``shape`` of one sample that the
    constructor is given. The constructor raises ValueError for a shape that the encoder cannot take.

    Optional, where the network has them: ``tokens(x)``, features [B, L, D] before they are pooled, for fusion by
    attention; ``stem(x)`` and ``stages``, the network in parts, for fusion between stages."""

    name: ClassVar[str]
    Options: ClassVar[type[EncoderOptions]]
    out_dim: int

    def refuse(self, shape: Shape, takes: str) -> ValueError:
        return ValueError(f"encoder {self.name} cannot take a sample of shape {list(shape)}; it takes {takes}")


def heads_divide(width: int, heads: int) -> None:
    """Check heads: raises ValueError where attention heads cannot share a width."""
    if width % heads:
        raise ValueError(f"{heads} heads do not divide a width of {width}")
