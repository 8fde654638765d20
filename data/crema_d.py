"""CREMA-D: acted emotional speech of 91 actors, sound and face (Cao et al., 2014; CheyneyComputerScience/CREMA-D).

The label is the intended emotion. Splits are those of OGM-GE (GeWu-Lab/OGM-GE_CVPR2022, `data/CREMAD`) with the
validation part of Diagnosing & Re-learning (GeWu-Lab/Diagnosing_Relearning_ECCV2024, `code/dataset/cremad`)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from data.base import DataError, SplitDraws
from data.prepared import Form, Listing, SplitName
from data.prepared.forms import Frames, Spectrogram
from data.prepared.lists.folders import files_by_stem, find_folder, folders_by_name, need_folder, open_root
from data.prepared.lists.held_out import carve, hold_out
from data.prepared.lists.media_files import Files, FrameFolders, find_media
from data.prepared.lists.rows import Lists, Row, class_name, read_table
from data.prepared.source import PreparedOptions, PreparedSource

CLASSES = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
UNUSABLE = ["1064_IEO_DIS_MD", "1064_TIE_SAD_XX", "1076_MTI_NEU_XX", "1076_MTI_SAD_XX"]
"""Clips that the owner's README calls damaged: no duration, an error picture, no sound, every emotion at once."""
MOST_FRAMES = 6
"""Of a clip at one frame a second; clips last up to 5 s."""
_STEM = re.compile(r"(?P<actor>\d{4})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_[A-Z]{1,2}")
_LISTS = ("", "annotations", "data/CREMAD", "code/dataset/cremad")
_SHARE = 0.1


def _speech(seconds: float) -> Spectrogram:
    return Spectrogram(rate=22050, seconds=seconds, n_fft=512, hop=353)


PROFILES: Mapping[str, Mapping[str, Form]] = {
    "3s": {"audio": _speech(3), "video": Frames(frames=1, most=MOST_FRAMES)},
    "20s": {"audio": _speech(20), "video": Frames(frames=1, most=MOST_FRAMES)},
    "iprm": {"audio": _speech(20), "video": Frames(frames=2, least=2, most=MOST_FRAMES)},
}
"""3s: 257 x 188 and one frame (OGM-GE, AMSS, IGM); 20s: 257 x 1250 and one frame (BSS, AUG, LFM); iprm: 257 x 1250 and
two frames. Shorter sounds are repeated."""


class CremaDOptions(PreparedOptions):
    """Options of ``crema_d``."""

    root: str = Field(min_length=1, description="folder with AudioWAV and VideoFlash (or Image-01-FPS)")
    lists: str | None = Field(None, min_length=1, description="folder of the split lists (null: in root)")
    profile: Literal["3s", "20s", "iprm"] = Field("3s", description="sound of 3 s, or 20 s; iprm: and two frames")
    frames: int | None = Field(
        None,
        ge=1,
        le=MOST_FRAMES,
        description="frames of a clip, some repeated where it has fewer (null: as the profile says)",
        json_schema_extra={"as_before": None},
    )
    split: Literal["author", "official", "speakers"] = Field(
        "author", description="author: my_train, val, test; official: train (validation carved), test; speakers: own"
    )
    exclude: list[str] = Field(UNUSABLE, description="stems left out; default: those the owner calls damaged")


def parse(stem: str, where: str, by_actor: bool = False) -> Row:
    """Parse the stem of a clip, ``<actor>_<sentence>_<emotion>_<level>``. Raises DataError for another form.

    by_actor: clips of one actor are a group."""
    match = _STEM.fullmatch(stem)
    if match is None:
        raise DataError(f"{where}: {stem!r} is not of the form 1001_DFA_ANG_XX (actor, sentence, emotion, level)")
    return Row(stem, class_name(match["emotion"], CLASSES, where), where, match["actor"] if by_actor else "")


def read_list(path: Path) -> list[Row]:
    """Read rows ``stem,label``, with or without a header line. The label must be the stem's own emotion."""
    rows = []
    for line in read_table(path, ("stem", "label"), header=lambda fields: fields[1:] == ("label",)):
        stem, label = line.fields
        row = parse(stem, line.where)
        if class_name(label, CLASSES, line.where) != row.label:
            raise DataError(f"{line.where}: label {label}, but the name says {CLASSES[row.label]}: {stem}")
        rows.append(row)
    return rows


class CremaD(PreparedSource[CremaDOptions]):
    """``audio``: log-magnitude spectrogram [1, 257, T]; ``video``: frames [3, frames, 224, 224].

    Every actor occurs in all parts of the author split and the official one; ``speakers`` holds out whole actors.
    Papers report accuracy and MAP; the largest class has 18.8 % of the author test."""

    name = "crema_d"
    paper = "Cao et al., 2014"
    title = "CREMA-D (acted emotions, six classes)"
    terms = (
        "Open Database License 1.0, contents under the Database Contents License 1.0; the owners ask "
        "users to fill in a form"
    )
    paths = frozenset({"root", "lists"})
    recipe: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.01,
        "batch_size": 64,
        "schedule": {"name": "step", "every": 70},
        "epochs": 100,
    }

    @classmethod
    def modalities(cls, options: CremaDOptions) -> tuple[str, ...]:
        return ("audio", "video")

    @classmethod
    def encoders(cls, options: CremaDOptions) -> dict[str, Any]:
        return {"audio": "resnet18", "video": "resnet18"}

    @classmethod
    def forms(cls, options: CremaDOptions) -> dict[str, Form]:
        found, video = dict(PROFILES[options.profile]), PROFILES[options.profile]["video"]
        if options.frames is not None and isinstance(video, Frames):
            found["video"] = replace(video, frames=options.frames)
        return found

    @classmethod
    def listing(cls, options: CremaDOptions) -> Listing:
        remedy = "set `root` to the clone of CheyneyComputerScience/CREMA-D (with Git LFS), or to AudioWAV's parent"
        root = open_root(options.root, remedy)
        sounds = files_by_stem(need_folder(root, "sound", "AudioWAV"), {".wav"})
        frames = find_folder(root, "Image-01-FPS")
        films = {} if frames else files_by_stem(need_folder(root, "video", "Image-01-FPS", "VideoFlash"), {".flv"})
        stems = set(sounds) | set(films)
        splits, note = cls._splits(options, root, stems)
        excluded = sorted({row.id for rows in splits.values() for row in rows} & set(options.exclude))
        cls._check_names(options.exclude, {row.id for rows in splits.values() for row in rows})
        kept = {part: [row for row in rows if row.id not in excluded] for part, rows in splits.items()}
        audio = Files(sounds, "AudioWAV/*.wav")
        video: Files[str] | FrameFolders[str] = Files(films, "VideoFlash/*.flv")
        if frames:
            wanted = [row.id for rows in kept.values() for row in rows]
            least = 2 if options.profile == "iprm" else 1
            video = FrameFolders(folders_by_name(frames), wanted, "Image-01-FPS", least)
        items, missing = find_media(
            kept, lambda row: {"audio": audio[row.id], "video": video[row.id]}, options.allowed_missing
        )
        left_out = (f"left out by `exclude`: {', '.join(excluded)}",) if excluded else ()
        return Listing(CLASSES, items, missing, (note, *left_out))

    @staticmethod
    def _check_names(exclude: list[str], known: set[str]) -> None:
        if unknown := [stem for stem in exclude if stem not in known and stem not in UNUSABLE]:
            near = difflib.get_close_matches(unknown[0], known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"exclude: no clip {unknown[0]!r} in the lists{hint}")

    @classmethod
    def split_draws(cls, options: CremaDOptions) -> SplitDraws:
        draws: dict[str, SplitDraws] = {"speakers": "test", "official": "validation", "author": "nothing"}
        return draws[options.split]

    @staticmethod
    def _splits(options: CremaDOptions, root: Path, stems: set[str]) -> tuple[dict[SplitName, list[Row]], str]:
        seed = options.split_seed
        if options.split == "speakers":
            rows = [parse(stem, str(root), by_actor=True) for stem in sorted(stems)]
            rest, test = hold_out(rows, _SHARE, seed, "test")
            train, validation = hold_out(rest, _SHARE / (1 - _SHARE), seed)
            counts = [len({row.group for row in part}) for part in (train, validation, test)]
            note = "split by speakers: {} actors train, {} validate, {} test".format(*counts)
            return {"train": train, "validation": validation, "test": test}, f"{note} (seed {seed})"
        lists = Lists.under(root, options.lists, _LISTS, "GeWu-Lab/OGM-GE_CVPR2022, data/CREMAD")
        if options.split == "official":
            train, validation = carve(read_list(lists.need("train.csv")), _SHARE, seed)
            note = f"validation: {_SHARE:.0%} of each class of train.csv (seed {seed})"
        else:
            origin = "GeWu-Lab/Diagnosing_Relearning_ECCV2024, code/dataset/cremad"
            own = Lists(lists.folders, f"{origin} (`split: official` does without them)")
            train, validation = read_list(own.need("my_train.csv")), read_list(own.need("val.csv"))
            note = "author split: my_train.csv, val.csv, test.csv"
        return {"train": train, "validation": validation, "test": read_list(lists.need("test.csv"))}, note
