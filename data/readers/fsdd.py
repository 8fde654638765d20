"""The Free Spoken Digit Dataset on disk: ``recordings/DIGIT_SPEAKER_INDEX.wav``, mono, 8 kHz, 16 bit.

Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0; indices 0 to 4 are its official test part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from data.base import AbsentDataError, DataError

RATE = 8000
"""Samples a second."""
_NAME = re.compile(r"([0-9])_([^_]+)_(0|[1-9][0-9]*)\.wav")
_REMEDY = "set `root` to the Free Spoken Digit Dataset: the folder that holds `recordings`, or `recordings` itself"


@dataclass(frozen=True)
class Recording:
    """One spoken digit. ``index`` counts a speaker's recordings of a digit from 0."""

    path: Path
    digit: int
    speaker: str
    index: int


def find_recordings(root: str) -> list[Recording]:
    """Find every recording under ``root``, by name. Raises DataError for a folder without recordings, or for a WAV file
    whose name has another form."""
    top = Path(root).expanduser()
    if not top.is_dir():
        raise AbsentDataError(f"{top}: no such folder; {_REMEDY}")
    folder = top / "recordings" if (top / "recordings").is_dir() else top
    # Names that begin with a dot are what file managers leave behind, not recordings.
    paths = [p for p in folder.iterdir() if p.suffix.lower() == ".wav" and not p.name.startswith(".")]
    if not paths:
        raise AbsentDataError(f"{folder}: no WAV files; {_REMEDY}")
    return [_parse(path) for path in sorted(paths, key=lambda path: path.name)]


def _parse(path: Path) -> Recording:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise DataError(
            f"{path}: the name is not of the form DIGIT_SPEAKER_INDEX.wav (as in 3_jackson_12.wav); "
            "rename the file or remove it"
        )
    digit, speaker, index = match.groups()
    return Recording(path, int(digit), speaker, int(index))


def missing_recordings(recordings: Sequence[Recording], show: int = 3) -> tuple[int, list[str]]:
    """Count the files that a complete set would have more, and the names of the first ``show`` of them. In a complete
    set each speaker says every digit equally often, without gaps."""
    names = {recording.path.name for recording in recordings}
    last: dict[str, int] = {}
    for recording in recordings:
        last[recording.speaker] = max(last.get(recording.speaker, 0), recording.index)
    expected = (
        f"{d}_{speaker}_{i}.wav" for speaker in sorted(last) for d in range(10) for i in range(last[speaker] + 1)
    )
    count = sum(10 * (index + 1) for index in last.values()) - len(names)
    return count, list(islice((name for name in expected if name not in names), show))
