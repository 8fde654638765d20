"""Real handwritten digits (scikit-learn's 1,797 images of 8 x 8 pixels) as two or three views of unequal strength.

Needs no download and trains in seconds, with real modality imbalance: the left half of the image is strong, the
column ink profile weak, and joint training leaves the profile's encoder behind."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator

from data.base import Dataset, DatasetOptions, DatasetSource, SampleType, Split, require_modalities
from data.base.splits import Positions, evenly, generator, stratified_parts

WIDTHS = {"left": 32, "profile": 8, "rows": 8}
"""Numbers of a sample of each view."""
VIEWS = tuple(WIDTHS)
CLASSES = tuple("0123456789")
FINGERPRINT = "scikit-learn-digits-1797"
"""The images that scikit-learn brings along never changed."""
_TEST_SHARE, _VALIDATION_SHARE = 0.22, 0.18


class DigitsOptions(DatasetOptions):
    """Options of ``digits``."""

    views: list[str] = Field(["left", "profile"], description="of left, profile, rows")
    train_samples: int = Field(600, ge=10, le=1000, description="training samples, the same number of each digit")
    split_seed: int = Field(0, ge=0, description="draws the splits")

    @field_validator("views")
    @classmethod
    def _known(cls, views: list[str]) -> list[str]:
        return list(require_modalities(views, VIEWS))


def read_digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read images [1797, 8, 8] with ink from 0 to 16, and their labels [1797], as ``sklearn.datasets.load_digits``
    gives them."""
    # The file itself: to import sklearn.datasets takes longer than many a training on these images.
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    folder = Path(str(package.origin)).with_name("datasets")
    table = np.loadtxt(folder / "data" / "digits.csv.gz", np.float32, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def view(images: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Make a view of images [n, 8, 8]: ``left``, the pixels of the left half, [n, 32]; ``profile``, the ink of each
    column, [n, 8]; ``rows``, the ink of each row, [n, 8]."""
    if name == "left":
        return images[:, :, :4].reshape(len(images), -1)
    return images.sum(axis={"profile": 1, "rows": 2}[name])


def split(labels: NDArray[np.integer], train_samples: int, seed: int) -> tuple[Positions, Positions, Positions]:
    """Give the positions of the training, validation and test samples, ascending: 22 % of each digit are test, 18 %
    validation; of the rest, ``train_samples`` train, the same number of each digit (to within one)."""
    test, validation, pool = stratified_parts(labels, (_TEST_SHARE, _VALIDATION_SHARE), seed)
    chosen = [
        generator(seed, "train", digit).permutation(pool[labels[pool] == digit])[:count]
        for digit, count in enumerate(evenly(train_samples, len(CLASSES)))
    ]
    return np.sort(np.concatenate(chosen)), validation, test


class Digits(DatasetSource[DigitsOptions]):
    """Each view is one vector a sample, standardised by one mean and one deviation of its training samples."""

    name = "digits"
    paper = "digits of scikit-learn"
    title = "Handwritten digits, seen in two or three views"
    terms = (
        "scikit-learn's, which brings them (three-clause BSD); UCI, whose Optical Recognition of Handwritten "
        "Digits they are, publishes donated sets under CC BY 4.0"
    )
    recipe: ClassVar[Mapping[str, Any]] = {"optimizer": "sgd", "lr": 0.05, "batch_size": 64, "epochs": 30}
    test_peak = True

    @classmethod
    def modalities(cls, options: DigitsOptions) -> tuple[str, ...]:
        return tuple(options.views)

    @classmethod
    def encoders(cls, options: DigitsOptions) -> dict[str, Any]:
        return dict.fromkeys(options.views, "mlp")

    @classmethod
    def samples(cls, options: DigitsOptions) -> dict[str, SampleType]:
        return {name: SampleType((WIDTHS[name],)) for name in options.views}

    @classmethod
    def fingerprint(cls, options: DigitsOptions) -> str:
        return FINGERPRINT

    @classmethod
    def load(cls, options: DigitsOptions) -> Dataset:
        images, labels = read_digits()
        parts = split(labels, options.train_samples, options.split_seed)
        inputs = {}
        for name in options.views:
            values = view(images, name)
            training = values[parts[0]]
            inputs[name] = (values - training.mean()) / training.std()
        train, validation, test = (
            Split({m: torch.from_numpy(x[part]) for m, x in inputs.items()}, torch.from_numpy(labels[part]))
            for part in parts
        )
        return Dataset(cls.name, tuple(options.views), CLASSES, train, validation, test)
