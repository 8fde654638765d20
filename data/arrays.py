"""Your own data without code: arrays of numbers, one a modality, with labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from data.base import (
    Column,
    DataError,
    Dataset,
    DatasetOptions,
    DatasetSource,
    Description,
    SampleType,
    Split,
    SplitDraws,
    usual_encoder,
)
from data.base.dataset import NOT_FINITE
from data.base.placement import gathered
from data.base.source import LEAST_STEPS
from data.prepared.cache.computed import Computed, ComputedSplit, cached_splits
from data.prepared.cache.folder import read_only
from data.prepared.lists.items import SPLITS, SplitName
from data.prepared.lists.user_tables import (
    carve_splits,
    label_notes,
    number_labels,
    repeat_notes,
    split_draws,
    split_name,
)
from data.readers.array_folder import (
    CLASSES,
    GROUP,
    LABELS,
    RESERVED,
    SPLIT,
    open_first,
    open_headers,
    read_arrays,
)

NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")
WORDS_OR_NUMBERS = "biufUS"
"""Kinds of arrays that labels and groups can be."""
_SAMPLED, _PIECES = 2**16, 64
"""Bytes of a piece, and pieces, by which the fingerprint knows a large array."""
_CHUNK = 2**26
"""Bytes that are looked through at a time."""
_LARGEST = float(np.finfo(np.float32).max)

Values = NDArray[Any]


class ArraysOptions(DatasetOptions):
    """Options of ``arrays``."""

    root: str = Field(min_length=1, description="an npz file, or a folder of npy and npz files")
    modalities: list[str] = Field(min_length=1, description="names of the arrays that are modalities, in their order")
    classes: list[str] | None = Field(None, min_length=2, description="names of the labels (null: as the data says)")
    validation_share: float = Field(0.1, gt=0, lt=0.5, description="of the training samples, where split names none")
    test_share: float = Field(0.2, gt=0, lt=0.5, description="of all samples, where there is no array split")
    split_seed: int = Field(0, ge=0, description="draws what is held out")
    allow_repeats: bool = Field(
        False, description="equal samples may stand in two splits", json_schema_extra={"as_before": True}
    )

    @field_validator("modalities")
    @classmethod
    def _names(cls, names: list[str]) -> list[str]:
        for name in names:
            if name in RESERVED or not name.isidentifier():
                raise ValueError(f"{name!r} cannot name a modality: use letters, digits and _, and none of {RESERVED}")
        if len(set(names)) < len(names):
            raise ValueError("a modality is named twice")
        return names


@dataclass(frozen=True)
class Arrays:
    """What the files hold, of equal length n. split: of each sample, or None; group: what must stay on one side of a
    split, or None."""

    modalities: Mapping[str, Values]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    split: NDArray[np.str_] | None
    group: NDArray[np.str_] | None


class ArrayColumn(Column):
    """Rows of an array, served as numbers in single precision; token ids [2, L] as whole numbers."""

    def __init__(self, values: Tensor, rows: Tensor) -> None:
        self._values, self._rows, self.shape = values, rows, tuple(values.shape[1:])
        self._dtype = torch.int64 if _are_tokens(values.is_floating_point(), self.shape) else torch.float32

    def __len__(self) -> int:
        return len(self._rows)

    def gather(self, index: Tensor, device: torch.device | str) -> Tensor:
        return gathered(self._values, self._rows[index.cpu()], device).to(self._dtype)

    def resident(self, device: torch.device | str) -> Column:
        return ArrayColumn(self._values[self._rows].to(device), torch.arange(len(self._rows)))

    @property
    def nbytes(self) -> int:
        return len(self._rows) * self._values[:1].nbytes


def _are_tokens(floating: bool, shape: tuple[int, ...]) -> bool:
    """Tell whether samples of ``shape`` are token ids and attention masks."""
    return not floating and len(shape) == 2 and shape[0] == 2


def _sample_type(values: Values) -> SampleType:
    shape = tuple(values.shape[1:])
    return SampleType(shape, _are_tokens(values.dtype.kind == "f", shape))


class ArraysSource(DatasetSource[ArraysOptions]):
    """Arrays [n, ...] named as the modalities, ``labels`` [n] (whole numbers from 0, or words), and where there are
    any ``split`` [n] (train, validation, test or 0, 1, 2), ``group`` [n] and ``classes``.

    Served in single precision as they are; whole numbers [n, 2, L] are token ids and attention masks. npz files are
    copied into the cache, npy files are mapped where they lie. The default encoder of a modality goes by the shape of
    its samples."""

    name = "arrays"
    title = "Your own arrays (npz, npy)"
    paths = frozenset({"root"})
    recipe: ClassVar[Mapping[str, Any]] = {"optimizer": "adamw", "lr": 1e-3, "batch_size": 64}

    @classmethod
    def modalities(cls, options: ArraysOptions) -> tuple[str, ...]:
        return tuple(options.modalities)

    @classmethod
    def encoders(cls, options: ArraysOptions) -> dict[str, Any]:
        """Choose by the shapes of the samples, as the headers of the files say: see :func:`usual_encoder`. None where
        these cannot be read, of which :meth:`describe` tells."""
        root = Path(options.root).expanduser()
        try:
            found = read_arrays(root, options.modalities, open_headers)
        except DataError:
            return {}
        return {modality: usual_encoder(_sample_type(found[modality])) for modality in options.modalities}

    @classmethod
    def fingerprint(cls, options: ArraysOptions) -> str:
        """Digest names, types, shapes and pieces of every array, of all of small ones."""
        return _digest(read_arrays(Path(options.root).expanduser(), options.modalities))

    @classmethod
    def describe(cls, options: ArraysOptions) -> Description:
        """Read the labels, the header of every modality and its first rows; see :meth:`load` for what is refused, as
        far as these show it."""
        root = Path(options.root).expanduser()
        first = dict[str, Values]()
        arrays = check_arrays(
            root, read_arrays(root, options.modalities, lambda file, wanted: open_first(file, wanted, first)), options
        )
        for modality in options.modalities:
            _check_numbers(root, modality, first[modality])
        parts, _ = _parts(arrays, root, options)
        samples = {modality: _sample_type(values) for modality, values in arrays.modalities.items()}
        return Description(samples, {name: arrays.labels[rows] for name, rows in parts.items()})

    @classmethod
    def split_draws(cls, options: ArraysOptions) -> SplitDraws:
        root = Path(options.root).expanduser()
        found = read_arrays(root, options.modalities, lambda file, wanted: open_first(file, wanted, {}))
        split = check_arrays(root, found, options).split
        return split_draws(None if split is None else split.tolist())

    @classmethod
    def load(cls, options: ArraysOptions) -> Dataset:
        """Load all of it. Raises DataError for arrays of unequal length or of no numbers, for labels that do not count
        classes from 0, for numbers that are not finite, and for a split without samples."""
        root = Path(options.root).expanduser()
        read = read_arrays(root, options.modalities)
        arrays = check_arrays(root, read, options)
        parts, notes = _parts(arrays, root, options)
        mapped = {m for m in options.modalities if isinstance(read[m], np.memmap)}
        own = options.model_dump(exclude={"root"})

        def compute() -> Computed:
            for modality, values in arrays.modalities.items():
                _check_numbers(root, modality, values)
            repeats = repeat_notes(_sample_digests(arrays.modalities), parts, str(root), options.allow_repeats)
            kept = {m: x for m, x in arrays.modalities.items() if m not in mapped}
            found = {s: ComputedSplit({m: x[rows] for m, x in kept.items()}, arrays.labels[rows])
                     for s, rows in parts.items()}  # fmt: skip
            return Computed(found, (*notes, *repeats))

        copied, notes = cached_splits(cls.name, f"{_digest(read)}/{sorted(mapped)}/{own}", compute)

        def split(name: SplitName) -> Split:
            rows, there = torch.from_numpy(parts[name]), copied[name].inputs
            columns: dict[str, Tensor | Column] = {}
            for modality, values in arrays.modalities.items():
                if isinstance(copy := there.get(modality), Tensor):
                    columns[modality] = ArrayColumn(copy, torch.arange(len(rows)))
                else:
                    columns[modality] = ArrayColumn(read_only(values), rows)
            return Split(columns, copied[name].labels)

        train, validation, test = map(split, SPLITS)
        return Dataset(cls.name, tuple(options.modalities), arrays.classes, train, validation, test, notes=notes)


def _digest(found: Mapping[str, Values]) -> str:
    state = hashlib.sha256()
    for name, given in sorted(found.items()):
        values = np.atleast_1d(given)
        state.update(f"{name}/{values.dtype.str}/{values.shape}/".encode())
        rows = max(1, _SAMPLED // max(1, values[:1].nbytes))
        if values.nbytes <= _SAMPLED * _PIECES:
            starts: Sequence[int] = range(0, len(values), rows)
        else:
            starts = np.linspace(0, len(values) - rows, _PIECES).astype(int).tolist()
        for start in starts:
            state.update(values[start : start + rows].tobytes())
    return state.hexdigest()[:16]


def _parts(
    arrays: Arrays, root: Path, options: ArraysOptions
) -> tuple[dict[SplitName, NDArray[np.int64]], tuple[str, ...]]:
    parts, notes = carve_splits(
        arrays.labels,
        None if arrays.split is None else arrays.split.tolist(),
        None if arrays.group is None else arrays.group.tolist(),
        (options.validation_share, options.test_share),
        options.split_seed,
        str(root),
    )
    layouts = (_layout_note(modality, values.shape[1:]) for modality, values in arrays.modalities.items())
    return parts, (*notes, *label_notes(arrays.labels, arrays.classes), *filter(None, layouts))


def _layout_note(modality: str, shape: tuple[int, ...]) -> str | None:
    """Say that samples look as if their axes stood in another order than encoders read them; None where they do not."""
    if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) > 4:
        looks, remedy = "[H, W, C], and encoders read [C, H, W]", f"save {modality}.transpose(0, 3, 1, 2)"
    elif len(shape) == 2 and shape[0] == shape[1] >= 8:
        looks, remedy = "[H, W], and encoders read [C, T]", f"if it is a picture, save {modality}[:, None]"
    elif len(shape) == 2 and 2 < shape[1] < LEAST_STEPS and shape[0] >= 4 * shape[1]:
        looks, remedy = "[T, C], and encoders read [C, T]", f"save {modality}.transpose(0, 2, 1)"
    else:
        return None
    return f"{modality}: samples of the shape {list(shape)} look like {looks}; {remedy}"


def _sample_digests(modalities: Mapping[str, Values]) -> list[bytes]:
    """Digest each sample, all its modalities."""
    return [
        hashlib.blake2b(b"".join(row.tobytes() for row in rows), digest_size=16).digest()
        for rows in zip(*modalities.values(), strict=True)
    ]


def check_arrays(root: Path, found: Mapping[str, Values], options: ArraysOptions) -> Arrays:
    """Check lengths, types and labels. Raises DataError."""
    rows = len(found[LABELS]) if found[LABELS].ndim == 1 else 0
    if not rows:
        shape = list(found[LABELS].shape)
        remedy = f"; save labels.{'argmax(1)' if shape[1] > 1 else 'ravel()'}" if len(shape) == 2 and shape[0] else ""
        raise DataError(f"{root}: labels must be [n], one a sample; it has the shape {shape}{remedy}")
    beside = {name: listed(root, name, found[name]) for name in RESERVED if name in found}
    for name in (*options.modalities, SPLIT, GROUP):
        if name not in found:
            continue
        values = found[name]
        if values.ndim == 0 or len(values) != rows:
            has = f"{len(values)} samples, labels has {rows}" if values.ndim else "no axis of samples: it is one number"
            raise DataError(f"{root}: {name} has {has}; give each of them one row a sample")
        if name not in RESERVED and (values.dtype.str[1:] not in NUMBERS or not values.dtype.isnative):
            raise DataError(
                f"{root}: {name} has the type {values.dtype}; a modality must be of numbers: save it as float32"
            )
        if name not in RESERVED and 0 in values.shape:
            raise DataError(f"{root}: {name} has the shape {list(values.shape)}: no number in a sample")
        if name not in RESERVED and values.ndim == 1:
            raise DataError(f"{root}: {name} is [n], one number a sample; give it a second axis, [n, 1]")
    given = options.classes or (found[CLASSES].astype(str).tolist() if CLASSES in found else None)
    labels, classes = number_labels(beside[LABELS], given, lambda row: f"{root}: labels[{row}]")
    split = None
    if SPLIT in beside:
        split = np.array([split_name(value, f"{root}: split[{k}]") for k, value in enumerate(beside[SPLIT])])
    group = found[GROUP].astype(str) if GROUP in found else None
    return Arrays({m: found[m] for m in options.modalities}, labels, classes, split, group)


def listed(root: Path, name: str, values: Values) -> list[Any]:
    """List the words, or numbers, of an array that is no modality. Raises DataError."""
    if values.ndim != 1 or values.dtype.kind not in WORDS_OR_NUMBERS:
        has = f"{name} is {values.dtype} {list(values.shape)}"
        raise DataError(f"{root}: {has}; it must be a list of words or numbers")
    if values.dtype.kind == "S" and not values.tobytes().isascii():
        raise DataError(f"{root}: {name} holds bytes beyond ASCII; save it as text (dtype str)")
    return (values.astype(str) if values.dtype.kind == "S" else values).tolist()


def _check_numbers(root: Path, modality: str, values: Values) -> None:
    """Check that all numbers are finite in single precision: raises DataError naming the first sample that holds one
    that is not."""
    if values.dtype.kind != "f":
        return
    step = max(1, _CHUNK // max(1, values[:1].nbytes))
    for start in range(0, len(values), step):
        found = values[start : start + step].reshape(len(values[start : start + step]), -1)
        finite = np.isfinite(found)
        if not finite.all():
            raise DataError(f"{root}: {modality}[{start + int(finite.all(1).argmin())}] {NOT_FINITE}")
        beyond = (np.abs(found) > _LARGEST).any(1) if values.dtype.itemsize > 4 else np.zeros(1, bool)
        if beyond.any():
            row = int(beyond.argmax())
            raise DataError(
                f"{root}: {modality}[{start + row}] holds {np.abs(found[row]).max():.3g}, beyond single precision "
                f"({_LARGEST:.3g}), in which it is trained; scale {modality}"
            )
