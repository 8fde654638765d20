"""Predictions of an exported model, on arrays in the form of its dataset or on a split of it, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import ValidationError

import data
from data.arrays import NUMBERS, listed
from data.base import Dataset
from data.prepared.lists.user_tables import number_labels, plain_text
from data.readers.array_folder import CLASSES, LABELS, RESERVED, SPLIT
from data.readers.numpy_files import NumpyFileError, Values, is_archive, read_named, remedy
from methods.base import MULTI
from sweep.config.problems import nearest
from sweep.inference.model import Model, ModelError
from sweep.runs.later_options import with_later
from sweep.training.metrics import score

if TYPE_CHECKING:
    import pandas as pd

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Samples:
    """Samples to predict. inputs: modality -> [N, ...]; labels: int64 [N], or None where nobody knows them; notes: what
    of their file was not looked at."""

    inputs: dict[str, Any]
    labels: torch.Tensor | None
    notes: tuple[str, ...] = ()


def read_arrays(path: Path, model: Model) -> Samples:
    """Read samples of an npz file: one array a modality, [N, ...] in model-ready form, and what else a file of the
    dataset ``arrays`` may hold, of which labels are read as in training. Raises ModelError, DataError."""
    read = _read_file(path, {*model.modalities, *RESERVED})
    beside = [name for name in RESERVED if name not in model.modalities]
    others = [name for name in read if name not in (*model.modalities, *beside)]
    if others and not read.keys() >= {*model.modalities}:
        raise ModelError(f"{path}: no modality called {others[0]!r}; the model reads {', '.join(model.modalities)}")
    inputs = {name: values for name, values in read.items() if name in model.modalities and values is not None}
    for name, values in inputs.items():
        if values.ndim == 0 or values.dtype.str[1:] not in NUMBERS or not values.dtype.isnative:
            has = f"{name} is {values.dtype} {list(values.shape)}"
            raise ModelError(f"{path}: {has}; a modality must be of numbers, one row a sample")
    known = {name: listed(path, name, found) for name in beside if (found := read.get(name)) is not None}
    if CLASSES in known:
        _check_classes(path, tuple(map(plain_text, known[CLASSES])), model)
    labels = _labels(path, known[LABELS], inputs, model) if LABELS in known else None
    notes = [f"{path}: split is not looked at: all {len(known[SPLIT])} samples are predicted"] if SPLIT in known else []
    if others:
        notes.append(f"{path}: not looked at, as the model reads {', '.join(model.modalities)}: {', '.join(others)}")
    return Samples(inputs, labels, tuple(notes))


def _read_file(path: Path, names: set[str]) -> dict[str, Values | None]:
    """Read the arrays of ``names`` from an npz file, None for each other one. Raises ModelError."""
    try:
        if not is_archive(path):
            raise NumpyFileError("it is of another format")
        return read_named(path, names)
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except NumpyFileError as error:
        raise ModelError(f"{path} is no npz file of plain arrays: {error}; {remedy(error, path)}") from error


def _check_classes(path: Path, classes: tuple[str, ...], model: Model) -> None:
    """Check that a file's names of the classes are the model's, but where its run was told others. Raises
    ModelError."""
    if classes != model.classes and not model.card.run.data.get("classes"):
        raise ModelError(
            f"{path}: classes are {', '.join(classes)}; the model knows {', '.join(model.classes)}: give these, in "
            "their order, or leave classes out"
        )


def _labels(path: Path, values: list[Any], inputs: Mapping[str, Values], model: Model) -> torch.Tensor:
    """Number the labels of a file, whole numbers or words, as the model does. Raises ModelError, DataError."""
    for name, samples in inputs.items():
        if len(values) != len(samples):
            raise ModelError(f"{path}: labels has {len(values)} samples, {name} has {len(samples)}")
    numbers, _ = number_labels(values, model.classes, lambda row: f"{path}: labels[{row}]")
    return torch.from_numpy(numbers)


def read_split(model: Model, name: SplitName, options: Mapping[str, Any]) -> Samples:
    """Load a split of the model's dataset with the options of its run but for those in ``options`` (another root, say).

    Raises ModelError, DataError."""
    source = data.get(model.card.run.dataset)
    known = list(source.Options.model_fields)
    if unknown := [key for key in options if key not in known]:
        raise ModelError(f"no option of {source.name} called {unknown[0]!r}; {nearest(unknown[0], known)}")
    try:
        chosen = source.Options.model_validate({**with_later(source.Options, model.card.run.data), **options})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ModelError(f"data.{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from error
    dataset: Dataset = data.load(source.name, chosen)
    if dataset.classes != model.classes:
        raise ModelError(
            f"the data has classes {', '.join(dataset.classes)}; the model knows {', '.join(model.classes)}"
        )
    split = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}[name]
    return Samples(dict(split.inputs), split.labels)


def prediction_table(model: Model, samples: Samples, without: list[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Tabulate predictions, and score them where labels are known: accuracy, MAP and macro-F1.

    A row a sample: prediction, probability of each class, prediction of each modality, and label where it is known.
    without: modalities to leave out. Raises ModelError."""
    import pandas as pd

    if unknown := [m for m in without if m not in model.modalities]:
        raise ModelError(f"no modality called {unknown[0]!r}; {nearest(unknown[0], model.modalities)}")
    inputs = {m: values for m, values in samples.inputs.items() if m not in without}
    logits = model.logits(inputs)
    probabilities = logits[MULTI].softmax(-1)
    best = probabilities.argmax(-1)
    names = np.array(model.classes)
    columns: dict[str, Any] = {"prediction": names[best.numpy()], "probability": probabilities.max(-1).values.numpy()}
    if samples.labels is not None:
        columns["label"] = names[samples.labels.numpy()]
    for modality, own in logits.items():
        if modality != MULTI:
            columns[f"prediction_{modality}"] = names[own.argmax(-1).numpy()]
    columns |= {f"p_{name}": probabilities[:, k].numpy() for k, name in enumerate(model.classes)}
    table = pd.DataFrame(columns)
    table.index.name = "sample"
    if samples.labels is None:
        return table, {}
    found = score(logits, samples.labels, len(model.classes), "")
    return table, {name.removeprefix("_"): value for name, value in found.items()}
