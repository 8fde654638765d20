"""Your own data without code: a CSV file with one row a sample, and one column of files, or of text, a modality."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from data.base import DataError, SplitDraws
from data.media.text import BUILT_IN
from data.prepared.forms import Form, Frames, Image, Spectrogram, Tokens
from data.prepared.lists.items import SPLITS, Item, Listing, Medium, SplitName
from data.prepared.lists.rows import read_text
from data.prepared.lists.user_tables import carve_splits, label_notes, number_labels, split_draws, split_name
from data.prepared.source import PreparedOptions, PreparedSource


class _Kind(BaseModel):
    """A column of files. column: its name, where it is not that of the modality."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    column: str | None = None


class Audio(_Kind):
    """Sound files, as log-magnitude spectrograms [1, n_fft // 2 + 1, T]."""

    kind: Literal["audio"]
    rate: int = Field(16000, ge=1000, le=192_000, description="samples a second, resampled to")
    seconds: float = Field(3.0, gt=0, le=3600)
    n_fft: int = Field(512, ge=16, le=65_536, multiple_of=2)
    hop: int = Field(160, ge=1, le=65_536)
    fill: Literal["tile", "zero"] = "zero"
    crop: Literal["start", "centre", "random"] = "start"

    def form(self) -> Form:
        return Spectrogram(rate=self.rate, seconds=self.seconds, n_fft=self.n_fft, hop=self.hop, fill=self.fill,
                           crop=self.crop)  # fmt: skip


class Picture(_Kind):
    """Image files, as [3, size, size]."""

    kind: Literal["image"]
    size: int = Field(224, ge=8, le=4_096)
    stored_size: int | None = Field(
        None, ge=8, le=8_192, description="edge of the squares that are kept (null: 8/7 of size)"
    )
    normalise: Literal["imagenet", "clip"] | None = "imagenet"
    flip: bool = True
    crop_scale: tuple[float, float] | None = (0.08, 1.0)
    randaugment: bool = False

    @field_validator("crop_scale", mode="before")
    @classmethod
    def _pair(cls, scale: Any) -> Any:
        return tuple(scale) if isinstance(scale, list) else scale

    def form(self) -> Form:
        return Image(size=self.size, stored_size=_stored(self.size, self.stored_size), normalise=self.normalise,
                     flip=self.flip, crop_scale=self.crop_scale, randaugment=self.randaugment,
                     allow_truncated=False)  # fmt: skip


class Video(_Kind):
    """Video files, or folders of jpg files, as [3, frames, size, size]."""

    kind: Literal["video"]
    frames: int = Field(1, ge=1, le=10_000, description="of a sample")
    size: int = Field(224, ge=8, le=4_096)
    stored_size: int | None = Field(
        None, ge=8, le=8_192, description="edge of the squares that are kept (null: 8/7 of size)"
    )
    rate: float = Field(1.0, gt=0, le=1_000, description="frames a second to choose from")
    most: int = Field(10, ge=1, le=10_000, description="frames to choose from, at most")
    flip: bool = True
    random_crop: bool = True

    def form(self) -> Form:
        return Frames(frames=self.frames, size=self.size, stored_size=_stored(self.size, self.stored_size),
                      rate=self.rate, most=max(self.most, self.frames), flip=self.flip,
                      random_crop=self.random_crop)  # fmt: skip


class Words(_Kind):
    """Texts that stand in the CSV file itself, as token ids and attention mask [2, length]."""

    kind: Literal["text"]
    tokenizer: str = Field(
        "words", min_length=1, description="words or bytes, which are built in; a name on the hub, or a folder"
    )
    length: int = Field(64, ge=2, le=100_000)
    special_tokens: bool = True

    def form(self) -> Form:
        return Tokens(tokenizer=self.tokenizer, length=self.length, special_tokens=self.special_tokens)


Kind = Annotated[Audio | Picture | Video | Words, Field(discriminator="kind")]
_SMALL_BERT = {"name": "bert", "width": 128, "depth": 2, "heads": 2, "hidden": 512}
"""For token ids of no pretrained network."""


def _encoder(kind: Audio | Picture | Video | Words) -> Any:
    if not isinstance(kind, Words):
        return "resnet18"
    if kind.tokenizer not in BUILT_IN:
        return "bert"
    return {**_SMALL_BERT, "vocabulary": BUILT_IN[kind.tokenizer], "positions": kind.length}


def _stored(size: int, given: int | None) -> int:
    return given or -(-size * 8 // 7)


class ManifestOptions(PreparedOptions):
    """Options of ``manifest``."""

    root: str = Field(min_length=1, description="the CSV file; paths in it count from its folder")
    profile: Literal["own"] = Field("own", description="as modalities say")
    modalities: dict[str, Kind] = Field(min_length=1, description="modality: {kind: audio | image | video | text, ...}")
    label: str = Field("label", description="column of the labels: whole numbers from 0, or words")
    id: str | None = Field(None, description="column of names of the samples (null: the number of the line)")
    split: str | None = Field(None, description="column of train, validation or test (null: split, if there is one)")
    group: str | None = Field(None, description="column of what stays on one side, as a speaker (null: group, if any)")
    classes: list[str] | None = Field(None, min_length=2, description="names of the labels (null: as the file says)")
    validation_share: float = Field(0.1, gt=0, lt=0.5, description="of the training samples, where split names none")
    test_share: float = Field(0.2, gt=0, lt=0.5, description="of all samples, where no column says the split")
    allow_repeats: bool = Field(
        False, description="one file may stand in two splits", json_schema_extra={"as_before": True}
    )

    @field_validator("modalities")
    @classmethod
    def _names(cls, modalities: dict[str, Kind]) -> dict[str, Kind]:
        for name in modalities:
            if not name.isidentifier():
                raise ValueError(f"{name!r} cannot name a modality: use letters, digits and _")
        return modalities


@dataclass(frozen=True)
class Table:
    """A CSV file. rows: (line in the file, column -> field) of each."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]

    def where(self, row: int, column: str) -> str:
        return f"{self.path}, line {self.rows[row][0]}: {column}"

    def column(self, name: str) -> list[str]:
        return [fields[name] for _, fields in self.rows]


class Manifest(PreparedSource[ManifestOptions]):
    """One row a sample; see :class:`ManifestOptions` for the columns. Where no column says the split, test and
    validation are held out by class and whole group."""

    name = "manifest"
    title = "Your own media, listed in a CSV file"
    recipe: ClassVar[Mapping[str, Any]] = {"optimizer": "sgd", "lr": 0.01, "batch_size": 64}

    @classmethod
    def modalities(cls, options: ManifestOptions) -> tuple[str, ...]:
        return tuple(options.modalities)

    @classmethod
    def encoders(cls, options: ManifestOptions) -> dict[str, Any]:
        return {modality: _encoder(kind) for modality, kind in options.modalities.items()}

    @classmethod
    def forms(cls, options: ManifestOptions) -> dict[str, Form]:
        return {modality: kind.form() for modality, kind in options.modalities.items()}

    @classmethod
    def allows_repeats(cls, options: ManifestOptions) -> bool:
        return options.allow_repeats

    @classmethod
    def split_draws(cls, options: ManifestOptions) -> SplitDraws:
        return split_draws(_sides(read_csv(Path(options.root).expanduser()), options))

    @classmethod
    def listing(cls, options: ManifestOptions) -> Listing:
        table = read_csv(Path(options.root).expanduser())
        columns = {m: _need(table, kind.column or m) for m, kind in options.modalities.items()}
        label, ids = _need(table, options.label), options.id and _need(table, options.id)
        group = _wanted(table, options.group, "group")
        labels, classes = number_labels(table.column(label), options.classes, lambda row: table.where(row, label))
        names = table.column(ids) if ids else [f"line {number}" for number, _ in table.rows]
        parts, notes = carve_splits(
            labels,
            _sides(table, options),
            table.column(group) if group else None,
            (options.validation_share, options.test_share),
            options.split_seed,
            str(table.path),
        )
        items: dict[int, Item] = {}
        missing = []
        for row, name in enumerate(names):
            try:
                media = {m: _medium(table, row, column, options.modalities[m].kind) for m, column in columns.items()}
            except OSError as error:
                missing.append((name, str(error)))
                continue
            items[row] = Item(name, int(labels[row]), media, table.rows[row][1][group] if group else "")
        splits = {s: tuple(items[row] for row in np.sort(parts[s]).tolist() if row in items) for s in SPLITS}
        return Listing(classes, splits, tuple(missing), (*notes, *label_notes(labels, classes)))

    @classmethod
    def folder(cls, options: ManifestOptions) -> Path:
        return super().folder(options).parent


def _sides(table: Table, options: ManifestOptions) -> list[SplitName] | None:
    """Read the split of each row; None where the table names none."""
    column = _wanted(table, options.split, "split")
    if not column:
        return None
    return [split_name(text, table.where(row, column)) for row, text in enumerate(table.column(column))] or None


_OTHER_SIGNS = {";": "semicolons", "\t": "tabs"}
"""What spreadsheets also write between fields."""


def read_csv(path: Path) -> Table:
    """Read every row. Raises DataError naming file and line."""
    rows: list[tuple[int, Mapping[str, str]]] = []
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        columns = tuple(name.strip() for name in next(reader, []))
        if len(columns) == 1 and (other := next((sign for sign in _OTHER_SIGNS if sign in columns[0]), None)):
            raise DataError(f"{path}, line 1: fields are separated by {_OTHER_SIGNS[other]}; separate them by commas")
        if len(set(columns)) < len(columns) or "" in columns:
            raise DataError(f"{path}, line 1: each column needs a name of its own; there are: {', '.join(columns)}")
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(columns):
                raise DataError(f"{path}, line {reader.line_num}: {len(fields)} fields, the header has {len(columns)}")
            rows.append((reader.line_num, dict(zip(columns, (field.strip() for field in fields), strict=True))))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not comma-separated ({error})") from error
    if not rows:
        raise DataError(f"{path}: no rows below the header")
    return Table(path, columns, tuple(rows))


def _need(table: Table, name: str) -> str:
    if name not in table.columns:
        raise DataError(f"{table.path}, line 1: no column called {name!r}; there are: {', '.join(table.columns)}")
    return name


def _wanted(table: Table, name: str | None, usual: str) -> str | None:
    return _need(table, name) if name else usual if usual in table.columns else None


def _medium(table: Table, row: int, column: str, kind: str) -> Medium:
    """Find a medium. Raises DataError for an empty field, OSError where no file is, or where nobody may look."""
    text = table.rows[row][1][column]
    if kind == "text":
        return text
    if not text:
        raise DataError(f"{table.where(row, column)} is empty; name a file")
    path = table.path.parent / text
    if kind == "video" and path.is_dir():
        frames = _frames(path)
        if not frames:
            raise FileNotFoundError(f"{table.where(row, column)}: no jpg file in {path}")
        return frames
    if not path.is_file():
        raise FileNotFoundError(f"{table.where(row, column)}: no file {path}")
    return path


def _frames(folder: Path) -> tuple[Path, ...]:
    found = [path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg") and path.name[0] != "."]
    return tuple(sorted(found, key=lambda path: path.name))
