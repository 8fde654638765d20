"""Seven shoulder exercises, felt by accelerometer and gyroscope of a smartwatch; whole people are held out. Embedded.

Source: Burns, Leung, Hardisty, Whyne, Henry, McLachlin, "Shoulder Physiotherapy Exercise Recognition: Machine Learning
the Inertial Signals from a Smartwatch", Physiological Measurement 39(7), 2018; ten of its twenty people, as the package
seglearn 1.2.5 (three-clause BSD) brings them, which states no licence of its own for the data. Kept in half precision:
the error is 0.0003 of a channel's deviation."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from data.base import Dataset, DatasetOptions, DatasetSource, SampleType, Split, SplitDraws
from data.base.splits import Positions, generator
from data.embedded import read_embedded, standardised

SENSORS = ("accelerometer", "gyroscope")
"""In units of gravity, and in radians a second; three axes each, 50 times a second."""
CLASSES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
"""Pendulum, abduction, forward elevation, internal and external rotation with a band, lower trapezius row with a band,
bent-over row with a dumbbell."""
SUBJECTS = range(1, 11)
SHORTEST = 947
"""Steps of the shortest series."""
FINGERPRINT = "seglearn-watch-140"
"""The file in the package never changes."""
_TEST, _VALIDATION = 3, 2
"""People of each split, where ``split_seed`` draws them."""


class WatchOptions(DatasetOptions):
    """Options of ``watch``."""

    window: int = Field(100, ge=4, le=SHORTEST, description="steps of a sample, 50 a second")
    step: int = Field(50, ge=1, description="steps from the start of a sample to that of the next")
    test_subjects: list[int] | None = Field([8, 9, 10], description="people of the test split, of 1 to 10")
    validation_subjects: list[int] | None = Field(
        [6, 7], description="people of the validation split (both null: split_seed draws three and two)"
    )
    split_seed: int = Field(0, ge=0, description="draws the people, where none are named")

    @field_validator("test_subjects", "validation_subjects")
    @classmethod
    def _sorted(cls, subjects: list[int] | None) -> list[int] | None:
        return None if subjects is None else sorted(subjects)

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        test, validation = self.test_subjects, self.validation_subjects
        if (test is None) != (validation is None):
            raise ValueError("name test_subjects and validation_subjects, or set both to null")
        named = [*(test or []), *(validation or [])]
        if unknown := [subject for subject in named if subject not in SUBJECTS]:
            raise ValueError(f"there is no subject {unknown[0]}; there are 1 to {SUBJECTS[-1]}")
        if len(set(named)) < len(named):
            twice = next(subject for subject in named if named.count(subject) > 1)
            raise ValueError(f"subject {twice} is named twice; every subject belongs to one split")
        if test == [] or validation == [] or len(named) == len(SUBJECTS):
            raise ValueError("leave at least one subject for each split: test, validation and training")
        return self


def subjects(options: WatchOptions) -> tuple[list[int], list[int], list[int]]:
    """List the people of the training, validation and test split: those that are named, else those drawn."""
    if options.test_subjects is None or options.validation_subjects is None:
        drawn = generator(options.split_seed, "subjects").permutation(list(SUBJECTS)).tolist()
        test, validation = drawn[:_TEST], drawn[_TEST : _TEST + _VALIDATION]
    else:
        test, validation = options.test_subjects, options.validation_subjects
    train = [subject for subject in SUBJECTS if subject not in (*test, *validation)]
    return train, sorted(validation), sorted(test)


def windows(offsets: Positions, window: int, step: int) -> tuple[Positions, Positions]:
    """Give the series and the first row of each window, [n] each: in a series, which is rows ``offsets[i]`` to
    ``offsets[i + 1]``, at 0, ``step``, 2 ``step``, ... as long as the whole window lies within; none across series."""
    starts = [np.arange(first, last - window + 1, step) for first, last in pairwise(offsets)]
    return np.repeat(np.arange(len(starts)), [len(each) for each in starts]), np.concatenate(starts)


def cut(signal: NDArray[np.floating], starts: Positions, window: int) -> NDArray[np.float32]:
    """Cut windows [n, channels, window] that begin at the rows ``starts`` out of a signal [rows, channels]."""
    return signal[starts[:, None] + np.arange(window)].transpose(0, 2, 1).astype(np.float32)


class Watch(DatasetSource[WatchOptions]):
    """``accelerometer`` and ``gyroscope``: [3, window] each, every channel standardised by the training samples.

    Neighbouring windows overlap, so that people alone are split. Gravity stays in: it tells the posture."""

    name = "watch"
    paper = "Burns et al., Physiological Measurement 2018"
    title = "Shoulder exercises, felt by a smartwatch (ten people)"
    terms = (
        "none stated for the data; the package they come from, seglearn, is three-clause BSD, whose text "
        "lies beside them"
    )
    recipe: ClassVar[Mapping[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "batch_size": 64, "epochs": 10}

    @classmethod
    def modalities(cls, options: WatchOptions) -> tuple[str, ...]:
        return SENSORS

    @classmethod
    def encoders(cls, options: WatchOptions) -> dict[str, Any]:
        return dict.fromkeys(SENSORS, "patch_transformer")

    @classmethod
    def samples(cls, options: WatchOptions) -> dict[str, SampleType]:
        return {sensor: SampleType((3, options.window)) for sensor in SENSORS}

    @classmethod
    def fingerprint(cls, options: WatchOptions) -> str:
        return FINGERPRINT

    @classmethod
    def split_draws(cls, options: WatchOptions) -> SplitDraws:
        """Say what ``split_seed`` draws anew: all people, where none are named."""
        return "test" if options.test_subjects is None else "nothing"

    @classmethod
    def load(cls, options: WatchOptions) -> Dataset:
        offsets, labels, subject, *signals = read_embedded("watch", "offsets", "labels", "subject", *SENSORS)
        series, starts = windows(offsets, options.window, options.step)
        people = subjects(options)
        parts = [np.flatnonzero(np.isin(subject[series], chosen)) for chosen in people]
        inputs = {
            sensor: torch.from_numpy(standardised(cut(signal, starts, options.window), parts[0], (0, 2)))
            for sensor, signal in zip(SENSORS, signals, strict=True)
        }
        train, validation, test = (
            Split({sensor: values[part] for sensor, values in inputs.items()}, torch.from_numpy(labels[series[part]]))
            for part in parts
        )
        said = "; ".join(
            f"{split} {', '.join(map(str, chosen))}"
            for split, chosen in zip(("training", "validation", "test"), people, strict=True)
        )
        return Dataset(cls.name, SENSORS, CLASSES, train, validation, test, notes=(f"people: {said}",))
