"""What a dataset declares of itself, without touching any media, and how it is loaded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import not_
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from data.base.corruption import Corruption
from data.base.dataset import DataError, Dataset
from data.registry import type_argument


@dataclass(frozen=True)
class SampleType:
    """One model-ready sample of a modality: its shape, without the batch axis. tokens: it holds token ids and their
    attention mask, whole numbers, instead of measured numbers."""

    shape: tuple[int, ...]
    tokens: bool = False


LEAST_STEPS, LEAST_PIXELS = 8, 4
USUAL_ENCODERS = (
    f"[C, T] with T of at least {LEAST_STEPS}: conv1d, [C, H, W] with H and W of at least {LEAST_PIXELS}: cnn, else mlp"
)
"""The rule of :func:`usual_encoder` in words."""


def usual_encoder(sample: SampleType) -> str:
    """Choose the encoder of a modality by the shape of its samples, where nobody names one: a small one, trained from
    scratch. Token ids get none that reads them, as their vocabulary is not known: whoever has them names one."""
    if len(sample.shape) == 2 and sample.shape[1] >= LEAST_STEPS and not sample.tokens:
        return "conv1d"
    return "cnn" if len(sample.shape) == 3 and min(sample.shape[1:]) >= LEAST_PIXELS else "mlp"


MOST = 1_000_000
"""Whole numbers among a dataset's options may be at most so large: what they count is held in memory."""
MOST_NUMBERS = 2**28
"""Numbers that one sample of a modality may have: 1 GiB."""


def check_sizes(samples: Mapping[str, SampleType]) -> None:
    """Check that memory holds samples, by modality. Raises DataError."""
    for modality, sample in samples.items():
        if (size := math.prod(sample.shape)) > MOST_NUMBERS:
            raise DataError(
                f"a sample of {modality} would have {size:,} numbers, {list(sample.shape)}; choose options that give "
                f"at most {MOST_NUMBERS:,}"
            )


@dataclass(frozen=True)
class Description:
    """A dataset as far as it is known before anything is decoded or loaded; what is not known is left out.

    samples: modality -> its samples. labels: split -> int64 [n] in [0, classes)."""

    samples: Mapping[str, SampleType] = field(default_factory=dict)
    labels: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


SPLIT_SEED = "split_seed"
"""The option that draws a dataset's splits, where it has one."""

SplitDraws = Literal["test", "validation", "nothing"]
"""What a dataset's ``split_seed`` draws anew: the test samples and with them all others; which training samples
validate, while the test samples stay; nothing, as the dataset brings all of its splits."""


class DatasetOptions(BaseModel):
    """Base of every dataset's options: typed, unknown keys refused, whole numbers of at most :data:`MOST`.
    ``split_seed`` never is the run's seed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    # Left out of records where nothing is corrupted: what a run is does not change by the option's being there.
    corrupt: dict[str, Corruption] = Field({}, exclude_if=not_, description="modality -> how it is corrupted")

    @field_validator("*")
    @classmethod
    def _within_memory(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, int) and value > MOST and info.field_name != SPLIT_SEED:
            raise ValueError(f"expected at most {MOST:,}, not {value}")
        return value

    @field_validator("corrupt")
    @classmethod
    def _without_idle(cls, corrupt: dict[str, Corruption]) -> dict[str, Corruption]:
        found = {modality: corruption.without_idle() for modality, corruption in corrupt.items()}
        return {modality: corruption for modality, corruption in found.items() if corruption}

    def clean(self) -> Self:
        """Return the same options with nothing corrupted: what is read, listed, decoded and kept is the same."""
        return self.model_copy(update={"corrupt": {}}) if self.corrupt else self


OptionsT = TypeVar("OptionsT", bound=DatasetOptions)


class DatasetSource(ABC, Generic[OptionsT]):
    """A dataset that can be loaded, ``class Digits(DatasetSource[DigitsOptions])``: the class attributes are its
    declaration."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str] = ""
    """Authors and year of the data; empty for a user's own."""
    terms: ClassVar[str] = ""
    """Licence or terms of use of the data, as their owners state them; empty for a user's own."""
    Options: ClassVar[type[DatasetOptions]]
    """The argument of the generic base, unless a class says otherwise."""
    paths: ClassVar[frozenset[str]] = frozenset()
    """Names of options that hold paths: they say where the data lies, not what it is (no part of an identity)."""
    recipe: ClassVar[Mapping[str, Any]] = {}
    """Training defaults of this dataset, by the keys of a sweep's ``train`` (and ``epochs``)."""
    test_peak: ClassVar[bool] = False
    """True where the best test epoch is recorded by default, beside the honest number."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        given = type_argument(cls, DatasetOptions)
        if given is not None and "Options" not in vars(cls):
            cls.Options = given

    @classmethod
    @abstractmethod
    def modalities(cls, options: OptionsT) -> tuple[str, ...]:
        """List the modalities in the order in which every method sees them."""

    @classmethod
    @abstractmethod
    def encoders(cls, options: OptionsT) -> dict[str, Any]:
        """Give the default encoder of each modality: a name of ``models.encoders`` or {name: ..., options}. Without
        those that only the data tell, where these cannot be read on this machine."""

    @classmethod
    @abstractmethod
    def fingerprint(cls, options: OptionsT) -> str:
        """Digest the content that the options lead to: equal data, equal digest, wherever it lies.

        Cheap (no decoding). Raises AbsentDataError when the data cannot be found."""

    @classmethod
    def samples(cls, options: OptionsT) -> dict[str, SampleType]:
        """Map modality -> its samples, as far as the options alone decide them: an encoder that cannot take them is
        refused before anything runs. No file is looked at. Default: nothing is known."""
        return {}

    @classmethod
    def describe(cls, options: OptionsT) -> Description:
        """Describe the data that the options lead to, without decoding or loading: from headers and lists. Default:
        what :meth:`samples` says.

        Raises AbsentDataError where the data cannot be found, DataError for everything that is wrong with what is
        looked at."""
        return Description(cls.samples(options))

    @classmethod
    def split_draws(cls, options: OptionsT) -> SplitDraws:
        """Say what ``split_seed`` draws anew. Reads lists at most. Default: the test samples too; nothing where there
        is no such option.

        Raises AbsentDataError, DataError where that depends on files that cannot be read."""
        return "test" if SPLIT_SEED in cls.Options.model_fields else "nothing"

    @classmethod
    @abstractmethod
    def load(cls, options: OptionsT) -> Dataset:
        """Read the data, clean: ``data.load`` corrupts them as the options say.

        Raises DataError naming the file and the remedy: every run of this dataset then fails of it. AbsentDataError,
        and whatever an OSError caused, counts for one attempt on one machine alone."""


def require_modalities(chosen: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Put ``chosen`` in the order of ``known``. Raises ValueError naming the unknown or repeated one."""
    unknown = [m for m in chosen if m not in known]
    if unknown:
        raise ValueError(f"unknown modality {unknown[0]!r}; there are: {', '.join(known)}")
    if len(set(chosen)) != len(chosen):
        raise ValueError("a modality is named twice")
    if not chosen:
        raise ValueError("name at least one modality")
    return tuple(m for m in known if m in chosen)
