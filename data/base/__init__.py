"""What every dataset is made of: samples, columns, splits and the :class:`DatasetSource` that declares and loads
them, and, below that, splits drawn by a seed and files that are read whole. Paths and options come in; a
:class:`Dataset` of model-ready tensors goes out. Nothing here knows a dataset by name."""

from __future__ import annotations

from data.base.corruption import Corruption
from data.base.dataset import (
    AbsentDataError,
    Augmentation,
    Batch,
    Column,
    DataError,
    Dataset,
    Split,
    Streams,
    check_labels,
    sample_shape,
)
from data.base.source import (
    SPLIT_SEED,
    USUAL_ENCODERS,
    DatasetOptions,
    DatasetSource,
    Description,
    SampleType,
    SplitDraws,
    check_sizes,
    require_modalities,
    usual_encoder,
)

__all__ = [
    "SPLIT_SEED",
    "USUAL_ENCODERS",
    "AbsentDataError",
    "Augmentation",
    "Batch",
    "Column",
    "Corruption",
    "DataError",
    "Dataset",
    "DatasetOptions",
    "DatasetSource",
    "Description",
    "SampleType",
    "Split",
    "SplitDraws",
    "Streams",
    "check_labels",
    "check_sizes",
    "require_modalities",
    "sample_shape",
    "usual_encoder",
]
