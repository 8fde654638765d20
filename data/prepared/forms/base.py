"""How a modality is stored: each form decodes one medium into arrays of fixed shape, and serves batches of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from data.base import Column, SampleType
from data.prepared.lists.items import Medium, SplitName

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Stored:
    """One array of a form: the type and the shape of one sample (no sample axis)."""

    dtype: str
    shape: tuple[int, ...]


class Form(ABC):
    """A frozen dataclass of the parameters that decide what is stored (its ``repr`` enters the cache's key), one for
    each modality of a profile. Picklable: decoding happens in other processes."""

    version: ClassVar[int] = 1
    """Raised whenever the same parameters give other numbers: caches of earlier versions are not used."""

    served: ClassVar[frozenset[str]] = frozenset()
    """Parameters that change nothing of what is decoded, or only the shapes of the declared arrays: forms that differ
    in these alone share what is stored."""

    def require(self) -> None:  # noqa: B027, most forms need nothing
        """Check, before anything is decoded, that all that decoding needs is there. Raises DataError."""

    def sample(self) -> SampleType | None:
        """Tell what is served of one sample in training; None where the parameters do not decide it."""
        return None

    @abstractmethod
    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        """List the arrays kept for each sample of ``split``, by name. Splits with the same arrays share what is
        decoded: a form that decodes them otherwise declares another array."""

    @abstractmethod
    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        """Decode one sample, as ``stored`` declares it. An array may be shorter along its first axis: the rest stays a
        hole that nobody reads. Raises :class:`data.media.MediaError` where the file cannot be used."""

    @abstractmethod
    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> Column:
        """Serve model-ready batches of the samples at ``rows`` (int64 [n]) of the arrays [N, ...], which are
        memory-mapped and read-only, and hold other samples, too."""

    def remarks(self, arrays: Mapping[str, Tensor], rows: Tensor) -> Iterator[tuple[int, str]]:
        """Yield how many of the samples at ``rows`` a reader of results must know something of, and what: "are
        grey"."""
        yield from ()
