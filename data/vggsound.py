"""VGGSound: 10 s clips of 309 sounds whose source is seen (Chen et al., 2020; hche11/VGGSound, `data/vggsound.csv`).

The official list has 183,730 training and 15,446 test clips; what YouTube still has is fewer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from data.base import DataError
from data.prepared import Form, Listing, SplitName
from data.prepared.forms import Frames, Spectrogram
from data.prepared.lists.folders import open_root
from data.prepared.lists.held_out import carve
from data.prepared.lists.media_files import find_media
from data.prepared.lists.rows import Lists, class_name, number, read_table
from data.prepared.lists.youtube import ClipRow, ClipTree, clip_media, clip_row
from data.prepared.source import PreparedOptions, PreparedSource

COUNT = 309
"""Classes; one index each, in the sorted order of their names."""
TREE = ClipTree(
    sounds=("train-audios/train-set", "test-audios/test-set", "AudioWAV"),
    frames=("train-videos/train-set-img/Image-01-FPS", "test-videos/test-set-img/Image-01-FPS", "Image-01-FPS"),
    videos=("video", "videos", "train", "test"),
)
LEAST_FRAMES = 4
"""Clips with 3 frames or fewer are left out, as every official loader does."""
_LISTS = ("", "data", "annotations", "data/VGGSound")
_SHARE = 0.05

PROFILES: Mapping[str, Mapping[str, Form]] = {
    "16k": {
        "audio": Spectrogram(rate=16000, seconds=5, n_fft=256, hop=128, crop="random"),
        "video": Frames(frames=3, most=5, least=LEAST_FRAMES),
    },
    "bss": {
        "audio": Spectrogram(rate=35400, seconds=20, n_fft=512, hop=353),
        "video": Frames(frames=1, size=384, stored_size=384, most=4, least=LEAST_FRAMES),
    },
}
"""16k: 129 x 626, a random 5 s of 10 s in training and the middle ones in evaluation, three frames (OGM-GE); bss:
257 x 2006 of 20 s, one frame of 384 x 384."""


class VGGSoundOptions(PreparedOptions):
    """Options of ``vggsound``."""

    root: str = Field(min_length=1, description="folder of the videos, or of extracted sounds and frames")
    lists: str | None = Field(None, min_length=1, description="folder of vggsound.csv and stat.csv (null: in root)")
    profile: Literal["16k", "bss"] = Field(
        "16k", description="16k: 129 x 626, 3 frames; bss: 257 x 2006, 1 frame of 384"
    )
    allowed_missing: float = Field(0.15, ge=0, lt=1, description="share of a split that may be gone from YouTube")


def read_classes(stat: Path | None, labels: set[str], table: Path) -> tuple[str, ...]:
    """Read the 309 names in sorted order, from ``stat.csv`` (``label,clips,group``) or, without it, from the ``labels``
    that stand in ``table``. Raises DataError for another number."""
    where = table if stat is None else stat
    found = labels if stat is None else {line.fields[0] for line in read_table(stat, ("label", "clips", "group"))}
    if len(found) != COUNT:
        hint = "; a shortened list needs the official stat.csv beside it" if stat is None else ""
        raise DataError(f"{where}: {len(found)} classes, expected the {COUNT} of VGGSound{hint}")
    return tuple(sorted(found))


class VGGSound(PreparedSource[VGGSoundOptions]):
    """``audio``: log-magnitude spectrogram [1, 129, 626] or [1, 257, 2006]; ``video``: [3, frames, size, size].

    Papers report accuracy and MAP, on what they could download."""

    name = "vggsound"
    paper = "Chen et al., ICASSP 2020"
    title = "VGGSound (309 sounds with their source in view)"
    terms = "CC BY 4.0; copyright of the videos stays with their owners"
    paths = frozenset({"root", "lists"})
    recipe: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.001,
        "batch_size": 64,
        "schedule": {"name": "step", "every": 70},
        "epochs": 100,
    }

    @classmethod
    def modalities(cls, options: VGGSoundOptions) -> tuple[str, ...]:
        return ("audio", "video")

    @classmethod
    def encoders(cls, options: VGGSoundOptions) -> dict[str, Any]:
        return {"audio": "resnet18", "video": "resnet18"}

    @classmethod
    def forms(cls, options: VGGSoundOptions) -> dict[str, Form]:
        return dict(PROFILES[options.profile])

    @classmethod
    def listing(cls, options: VGGSoundOptions) -> Listing:
        root = open_root(options.root, "set `root` to the folder of VGGSound's videos, or of its sounds and frames")
        lists = Lists.under(root, options.lists, _LISTS, "hche11/VGGSound, data")
        table = lists.need("vggsound.csv")
        lines = read_table(table, ("YouTube id", "start second", "label", "train or test"))
        classes = read_classes(lists.find("stat.csv"), {line.fields[2] for line in lines}, table)
        index = {name: label for label, name in enumerate(classes)}
        parts: dict[str, list[ClipRow]] = {"train": [], "test": []}
        for line in lines:
            video, start, name, part = line.fields
            if part not in parts:
                raise DataError(f"{line.where}: {part!r} is neither train nor test")
            label = index[name] if name in index else class_name(name, classes, line.where)
            stem = f"{video}_{number(start, line.where, 'start second')}"
            parts[part].append(clip_row(stem, label, line.where))
        train, validation = carve(parts["train"], _SHARE, options.split_seed)
        splits: dict[SplitName, list[ClipRow]] = {"train": train, "validation": validation, "test": parts["test"]}
        keys = [row.key for rows in splits.values() for row in rows]
        audio, video_ = TREE.media(root, keys, LEAST_FRAMES)
        items, missing = find_media(splits, lambda row: clip_media(audio, video_, row), options.allowed_missing)
        note = f"validation: {_SHARE:.0%} of each class of the training clips, by video (seed {options.split_seed})"
        return Listing(classes, items, missing, (note,))
