"""NVGesture: 25 hand gestures of 20 subjects in colour, depth and optical flow (Molchanov et al., CVPR 2016).

Flow is no part of the data set: it is computed from the colour frames."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from data.base import DataError, require_modalities
from data.prepared import Clip, Form, Listing, Medium, SplitName
from data.prepared.forms import Flow, GestureClip
from data.prepared.lists.folders import files_by_stem, find_folder, need_folder, open_root
from data.prepared.lists.held_out import carve, whole_groups
from data.prepared.lists.media_files import AbsentError, find_media
from data.prepared.lists.rows import Lists, Row, class_number, number, read_lines
from data.prepared.source import PreparedOptions, PreparedSource

MODALITIES = ("rgb", "flow", "depth")
CLASSES = tuple(f"class_{number:02d}" for number in range(1, 26))
FILES = {
    part: (f"nvgesture_{part}_correct_cvpr2016_v2.lst", f"nvgesture_{part}_correct_v2.lst")
    for part in ("train", "test")
}
_KEYS = ("path", "color", "depth", "label")
_FORM = "path:./Video_data/class_07/subject5_r2 depth:sk_depth:120:200 color:sk_color:120:200 label:7"
_SUBJECT = re.compile(r"subject\d+")
_SHARE = 0.1

PROFILES: Mapping[str, Mapping[str, Form]] = {
    "i3d": {"rgb": GestureClip(channels=3), "flow": Flow(), "depth": GestureClip(channels=1)},
}
"""i3d: 64 of 80 frames and a 224 x 224 corner of 256 x 256 in training, all frames and the centre in evaluation."""


class NVGestureOptions(PreparedOptions):
    """Options of ``nvgesture``."""

    root: str = Field(min_length=1, description="folder with Video_data and the two lists")
    lists: str | None = Field(None, min_length=1, description="folder of the split lists (null: in root)")
    profile: Literal["i3d"] = Field("i3d", description="64 frames of 224 x 224 in training, 80 in evaluation")
    modalities: list[str] = Field(list(MODALITIES), description="of rgb, flow, depth; computing flow takes long")

    @field_validator("modalities")
    @classmethod
    def _known(cls, modalities: list[str]) -> list[str]:
        return list(require_modalities(modalities, MODALITIES))


@dataclass(frozen=True)
class Window:
    """Frames of ``<name>.avi`` from ``start`` (included) to ``end`` (excluded)."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class GestureRow(Row):
    """A gesture; its group is the subject. folder: relative to the root."""

    folder: str = ""
    color: Window = Window("", 0, 0)
    depth: Window = Window("", 0, 0)


def parse(text: str, where: str) -> GestureRow:
    """Parse one line of a list: fields ``key:value`` in any order. Raises DataError naming what is wrong with it."""
    found = dict(field.partition(":")[::2] for field in text.split())
    if missing := [key for key in _KEYS if key not in found]:
        raise DataError(f"{where}: no field {missing[0]}:...; a line reads {_FORM}")
    windows = {}
    for key in ("color", "depth"):
        parts = found[key].split(":")
        if len(parts) != 3:
            raise DataError(f"{where}: {key}:{found[key]} has {len(parts)} parts, expected name:start:end")
        start, end = (number(part, where, f"frame of {key}") for part in parts[1:])
        if start >= end:
            raise DataError(f"{where}: {key} ends at frame {end}, not after its start {start}")
        windows[key] = Window(parts[0], start, end)
    folder = PurePosixPath(found["path"])
    subject = _SUBJECT.match(folder.name)
    if subject is None:
        raise DataError(f"{where}: path {found['path']} does not end in subject<number>_r<number>")
    label = class_number(found["label"], len(CLASSES), where, first=1)
    id = f"{folder.parent.name}/{folder.name}@{windows['color'].start}"
    return GestureRow(id, label, where, subject[0], str(folder), windows["color"], windows["depth"])


def read_list(path: Path) -> list[GestureRow]:
    rows = [parse(text, where) for where, text in read_lines(path)]
    if not rows:
        raise DataError(f"{path}: no rows; copy or download it again")
    return rows


def held_out(rows: list[GestureRow], seed: int) -> tuple[list[GestureRow], list[GestureRow], str]:
    """(training, validation, what a reader must know of it): whole subjects, or single gestures of each class where the
    lists are so short that no choice of subjects keeps every class on both sides. Raises DataError where no class has
    two gestures."""
    if parts := whole_groups(rows, _SHARE, seed, "validation"):
        held = ", ".join(sorted({row.group for row in parts[1]}))
        return (*parts, f"validation: {held} of the training subjects (seed {seed})")
    _, validation = carve([replace(row, group="") for row in rows], _SHARE, seed)
    subjects, classes = ({getattr(row, what) for row in rows} for what in ("group", "label"))
    why = f"no choice of the {len(subjects)} training subjects keeps all {len(classes)} classes on both sides"
    if not validation:
        raise DataError(f"validation: {why}, and no class has two gestures; use longer lists (`lists`)")
    chosen = {row.id for row in validation}
    return (
        [row for row in rows if row.id not in chosen],
        [row for row in rows if row.id in chosen],
        f"validation: {len(validation)} gestures of subjects that are trained on, too (seed {seed}): {why}; with the "
        "whole lists whole subjects are held out",
    )


class NVGesture(PreparedSource[NVGestureOptions]):
    """``rgb`` [3, T, 224, 224], ``flow`` [2, T, 224, 224] and ``depth`` [1, T, 224, 224]. One draw of the crop for all
    three, and of the window for rgb and depth; nothing is flipped, as a flip would change the gesture.

    Papers report accuracy and macro-F1."""

    name = "nvgesture"
    paper = "Molchanov et al., CVPR 2016"
    title = "NVGesture (25 hand gestures in colour, flow and depth)"
    terms = "non-commercial research (CC BY-NC-SA 4.0; the archive's own text decides)"
    paths = frozenset({"root", "lists"})
    recipe: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.01,
        "batch_size": 2,
        "schedule": {"name": "step", "every": 70},
        "epochs": 100,
    }

    @classmethod
    def modalities(cls, options: NVGestureOptions) -> tuple[str, ...]:
        return tuple(options.modalities)

    @classmethod
    def encoders(cls, options: NVGestureOptions) -> dict[str, Any]:
        return dict.fromkeys(options.modalities, "i3d")

    @classmethod
    def forms(cls, options: NVGestureOptions) -> dict[str, Form]:
        return {modality: PROFILES[options.profile][modality] for modality in options.modalities}

    @classmethod
    def listing(cls, options: NVGestureOptions) -> Listing:
        root = open_root(options.root, "set `root` to the unpacked nvGesture folder, which holds Video_data")
        need_folder(root, "video", "Video_data")
        lists = Lists.under(root, options.lists, ("",), "the archive of NVGesture")
        rows, test = (read_list(lists.need(*FILES[part])) for part in ("train", "test"))
        train, validation, how = held_out(rows, options.split_seed)
        splits: dict[SplitName, list[GestureRow]] = {"train": train, "validation": validation, "test": test}

        def media(row: GestureRow) -> dict[str, Medium]:
            folder = find_folder(root, row.folder)
            if folder is None:
                raise AbsentError(f"no folder {row.folder}")
            films = files_by_stem(folder, {".avi"})
            windows = {"rgb": row.color, "flow": row.color, "depth": row.depth}
            return {modality: _clip(films, windows[modality]) for modality in options.modalities}

        items, missing = find_media(splits, media, options.allowed_missing)
        shared = sorted({row.group for row in rows} & {row.group for row in test})
        notes = [how]
        if shared:
            notes.append(f"subjects in training and test lists: {', '.join(shared)}")
        return Listing(CLASSES, items, missing, tuple(notes))


def _clip(films: Mapping[str, Path], window: Window) -> Clip:
    if window.name not in films:
        raise AbsentError(f"no {window.name}.avi")
    return Clip(films[window.name], window.start, window.end)
