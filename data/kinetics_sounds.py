"""Kinetics-Sounds: 31 classes of Kinetics-400 that can be seen and heard (after Arandjelovic and Zisserman, 2017).

Splits are the lists of OGM-GE (GeWu-Lab/OGM-GE_CVPR2022, `data/KineticSound`) with the validation part of
GeWu-Lab/BML_TPAMI2024, `code/dataset/KS_train_val.json`: 14,799 / 1,320 / 2,597 clips."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from data.base import DataError, SplitDraws
from data.prepared import SPLITS, Form, Listing, SplitName
from data.prepared.forms import FilterBank, Frames, Spectrogram
from data.prepared.lists.folders import open_root
from data.prepared.lists.held_out import carve
from data.prepared.lists.media_files import find_media
from data.prepared.lists.rows import Lists, class_name, class_number, number, read_lines, read_table, read_text
from data.prepared.lists.youtube import ClipRow, ClipTree, clip_media, clip_row
from data.prepared.source import PreparedOptions, PreparedSource

CLASSES = (
    "blowing nose",
    "blowing out candles",
    "bowling",
    "chopping wood",
    "dribbling basketball",
    "laughing",
    "mowing lawn",
    "playing accordion",
    "playing bagpipes",
    "playing bass guitar",
    "playing clarinet",
    "playing drums",
    "playing guitar",
    "playing harmonica",
    "playing keyboard",
    "playing organ",
    "playing piano",
    "playing saxophone",
    "playing trombone",
    "playing trumpet",
    "playing violin",
    "playing xylophone",
    "ripping paper",
    "shoveling snow",
    "shuffling cards",
    "singing",
    "stomping grapes",
    "tap dancing",
    "tapping guitar",
    "tapping pen",
    "tickling",
)
TREE = ClipTree(
    sounds=("train_wav", "val_wav", "test_wav"),
    frames=tuple(f"{part}_img/Image-01-FPS" for part in ("train", "val", "test")),
    videos=("k400/train", "k400/val", "k400/test", "train", "val", "test"),
)
LEAST_FRAMES = 4
"""Clips with 3 frames or fewer are left out, as every official loader does."""
_ROOT = "set `root` to the folder that holds k400, or train_wav and train_img"
_ORIGIN = "GeWu-Lab/BML_TPAMI2024, code/dataset, or GeWu-Lab/OGM-GE_CVPR2022, data/KineticSound"
_LISTS = ("", "annotations", "data/KineticSound", "code/dataset")
_SHARE = 0.1

_VIDEO = Frames(frames=3, least=LEAST_FRAMES)
PROFILES: Mapping[str, Mapping[str, Form]] = {
    "stft": {"audio": Spectrogram(rate=35400, seconds=10, n_fft=512, hop=353), "video": _VIDEO},
    "fbank": {"audio": FilterBank(mean=-4.503877, deviation=2 * 5.141276), "video": _VIDEO},
}
"""stft: 257 x 1003 (BSS, IGM, AMSS); fbank: 1024 x 128 log-mel, standardised (OGM-GE, BalanceBenchmark)."""


class KineticsSoundsOptions(PreparedOptions):
    """Options of ``kinetics_sounds``."""

    root: str = Field(
        min_length=1, description="folder with k400/ (mp4), or with {train,test}_wav and {train,test}_img"
    )
    lists: str | None = Field(None, min_length=1, description="folder of the split lists (null: in root)")
    profile: Literal["stft", "fbank"] = Field("stft", description="stft: 257 x 1003; fbank: 1024 x 128 log-mel")
    allowed_missing: float = Field(0.15, ge=0, lt=1, description="share of a split that may be gone from YouTube")


def read_list(path: Path) -> list[ClipRow]:
    """Read rows ``stem,seconds,class index``."""
    rows = []
    for line in read_table(path, ("stem", "seconds", "class index")):
        stem, seconds, label = line.fields
        number(seconds, line.where, "seconds")
        rows.append(clip_row(stem, class_number(label, len(CLASSES), line.where), line.where))
    return rows


def read_annotations(path: Path) -> list[ClipRow]:
    """Read the lists of the njustkmg repositories: columns ``youtube_id`` (holds the stem) and ``label``, by header."""
    rows: list[ClipRow] = []
    columns: list[str] = []
    for where, text in read_lines(path):
        fields = [field.strip() for field in next(csv.reader([text]))]
        if not columns:
            columns = fields
            if "time_start" in columns:
                raise DataError(f"{path}: the list of all of Kinetics, not of Kinetics-Sounds; set `lists`")
            if not {"youtube_id", "label"} <= set(columns):
                raise DataError(f"{where}: columns {', '.join(columns)}, expected youtube_id and label among them")
        elif len(fields) != len(columns):
            raise DataError(f"{where}: {len(fields)} columns, expected {len(columns)} ({', '.join(columns)})")
        else:
            row = dict(zip(columns, fields, strict=True))
            label = class_name(row["label"].replace("_", " "), CLASSES, where)
            rows.append(clip_row(row["youtube_id"], label, where))
    return rows


def read_database(path: Path) -> dict[SplitName, list[ClipRow]]:
    """Read the three parts of ``KS_train_val.json``: {"database": {stem: {"subset": ..., "label": ...}}}."""
    parts: dict[str, SplitName] = {"training": "train", "validation": "validation", "testing": "test"}
    try:
        entries = json.loads(read_text(path))["database"].items()
        found = [(stem, entry["subset"], entry["label"].replace("_", " ")) for stem, entry in entries]
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}); download it again") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f'{path}: not of the form {{"database": {{stem: {{"subset": ..., "label": ...}}}}}}') from error
    splits: dict[SplitName, list[ClipRow]] = {name: [] for name in SPLITS}
    for stem, subset, label in found:
        where = f"{path}, {stem}"
        if subset not in parts:
            raise DataError(f"{where}: unknown subset {subset!r}; there are: {', '.join(parts)}")
        splits[parts[subset]].append(clip_row(stem, class_name(label, CLASSES, where), where))
    return splits


class KineticsSounds(PreparedSource[KineticsSoundsOptions]):
    """``audio``: log-magnitude spectrogram [1, 257, 1003] or log-mel [1, 1024, 128]; ``video``: [3, 3, 224, 224].

    Papers report accuracy and MAP; the largest class has 3.5 % of the test."""

    name = "kinetics_sounds"
    paper = "Arandjelovic and Zisserman, ICCV 2017"
    title = "Kinetics-Sounds (31 actions, seen and heard)"
    terms = "annotations: CC BY 4.0; the videos belong to their uploaders"
    paths = frozenset({"root", "lists"})
    recipe: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.01,
        "batch_size": 64,
        "schedule": {"name": "step", "every": 70},
        "epochs": 100,
    }

    @classmethod
    def modalities(cls, options: KineticsSoundsOptions) -> tuple[str, ...]:
        return ("audio", "video")

    @classmethod
    def encoders(cls, options: KineticsSoundsOptions) -> dict[str, Any]:
        return {"audio": "resnet18", "video": "resnet18"}

    @classmethod
    def forms(cls, options: KineticsSoundsOptions) -> dict[str, Form]:
        return dict(PROFILES[options.profile])

    @classmethod
    def split_draws(cls, options: KineticsSoundsOptions) -> SplitDraws:
        lists = Lists.under(open_root(options.root, _ROOT), options.lists, _LISTS, _ORIGIN)
        whole = lists.find("KS_train_val.json") or (lists.find("my_train.txt") and lists.find("my_val.txt"))
        return "nothing" if whole else "validation"

    @classmethod
    def listing(cls, options: KineticsSoundsOptions) -> Listing:
        root = open_root(options.root, _ROOT)
        splits, note = cls._splits(options, root)
        keys = [row.key for rows in splits.values() for row in rows]
        audio, video = TREE.media(root, keys, LEAST_FRAMES)
        items, missing = find_media(splits, lambda row: clip_media(audio, video, row), options.allowed_missing)
        return Listing(CLASSES, items, missing, (note,))

    @staticmethod
    def _splits(options: KineticsSoundsOptions, root: Path) -> tuple[dict[SplitName, list[ClipRow]], str]:
        lists = Lists.under(root, options.lists, _LISTS, _ORIGIN)
        if database := lists.find("KS_train_val.json"):
            return read_database(database), "split: KS_train_val.json"
        train_list = lists.need("my_train.txt", "train.csv")
        if train_list.name == "my_train.txt":
            train, test = read_list(train_list), read_list(lists.need("my_test.txt"))
            if validation_list := lists.find("my_val.txt"):
                splits: dict[SplitName, list[ClipRow]]
                splits = {"train": train, "validation": read_list(validation_list), "test": test}
                return splits, "split: my_train.txt, my_val.txt, my_test.txt"
        else:
            train, test = read_annotations(train_list), read_annotations(lists.need("test.csv"))
        train, validation = carve(train, _SHARE, options.split_seed)
        note = f"validation: {_SHARE:.0%} of each class of {train_list.name}, by video (seed {options.split_seed})"
        return {"train": train, "validation": validation, "test": test}, note
