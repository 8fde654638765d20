"""Clips of YouTube videos on disk: names, and the trees in which the official repositories keep them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.base import DataError
from data.prepared.lists.folders import explain_absence, files_by_stem, find_folder, folders_by_name
from data.prepared.lists.items import Medium
from data.prepared.lists.media_files import Files, FrameFolders
from data.prepared.lists.rows import Row

Key = tuple[str, int]
"""The video's id and the second at which the clip starts."""
_STEM = re.compile(r"(?P<id>[\w-]{11})_(?P<start>\d+)(?:_\d+)?(?:\.mp4)?", re.ASCII)
VIDEOS = frozenset({".mp4", ".webm", ".mkv", ".avi"})
SOUNDS = frozenset({".wav", ".flac"})


@dataclass(frozen=True)
class ClipRow(Row):
    """A clip in a list; its id is ``<video>_<start, six digits>`` however the list pads, its group the video."""

    key: Key = ("", 0)


def parse_key(stem: str) -> Key | None:
    """Parse ``<id>_<start>`` or ``<id>_<start>_<end>``, padded or not. Ids have 11 characters, ``-`` and ``_`` among
    them, so that a stem must never be split at ``_``."""
    match = _STEM.fullmatch(stem)
    return (match["id"], int(match["start"])) if match else None


def clip_row(stem: str, label: int, where: str) -> ClipRow:
    """Make the row of a clip. Raises DataError for a stem of another form."""
    key = parse_key(stem)
    if key is None:
        raise DataError(f"{where}: {stem!r} is not of the form <YouTube id, 11 characters>_<start>[_<end>]")
    return ClipRow(f"{key[0]}_{key[1]:06d}", label, where, key[0], key)


def _keyed(found: Iterable[Mapping[str, Path]]) -> dict[Key, Path]:
    def pairs() -> Iterator[tuple[Key, Path]]:
        for paths in found:
            for stem, path in paths.items():
                if key := parse_key(stem):
                    yield key, path

    return dict(pairs())


@dataclass(frozen=True)
class ClipTree:
    """Places under a root: ``sounds`` of wav files, ``frames`` of one folder a clip, ``videos`` of whole clips (in
    subfolders too)."""

    sounds: Sequence[str]
    frames: Sequence[str]
    videos: Sequence[str]

    def media(
        self, root: Path, keys: Sequence[Key], least_frames: int
    ) -> tuple[Files[Key], FrameFolders[Key] | Files[Key]]:
        """(audio, video) by key: from sounds and frames where there are such folders, else from the videos; clips with
        fewer extracted frames than ``least_frames`` are absent. Raises DataError where nothing is found."""
        sounds = [folder for place in self.sounds if (folder := find_folder(root, place))]
        frames = [folder for place in self.frames if (folder := find_folder(root, place))]
        videos = [folder for place in self.videos if (folder := find_folder(root, place))]
        if not videos and not (sounds and frames):
            places = [
                place for part in (() if sounds else self.sounds, () if frames else self.frames) for place in part
            ]
            raise DataError(
                f"{root}: no clips; expected videos in {' or '.join(self.videos)}, or extracted ones in "
                f"{', '.join(places)}. {explain_absence(root, (*self.videos, *places))}"
            )
        whole = {} if sounds and frames else _keyed(files_by_stem(folder, VIDEOS, deep=True) for folder in videos)
        audio = Files(_keyed(files_by_stem(f, SOUNDS) for f in sounds), "wav file") if sounds else Files(whole, "video")
        if not frames:
            return audio, Files(whole, "video")
        folders = _keyed(folders_by_name(folder) for folder in frames)
        return audio, FrameFolders(folders, keys, "frames", least_frames)


def clip_media(audio: Files[Key], video: FrameFolders[Key] | Files[Key], row: ClipRow) -> dict[str, Medium]:
    """Find the media of a clip. Raises :class:`data.prepared.lists.folders.AbsentError`."""
    return {"audio": audio[row.key], "video": video[row.key]}
