"""IEMOCAP's labels and transcripts: MLA's lists, and the corpus' own files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from data.base import DataError
from data.prepared.lists.folders import entries, find_folder, need_folder
from data.prepared.lists.held_out import carve
from data.prepared.lists.items import SplitName
from data.prepared.lists.rows import Lists, Row, class_name, read_lines, refuse_repeats

CLASSES = ("Angry", "Happy", "Neutral", "Sad")
CODES = {"ang": "Angry", "hap": "Happy", "exc": "Happy", "neu": "Neutral", "sad": "Sad"}
"""The corpus' own labels of the four classes; excited counts as happy."""
SESSIONS = range(1, 6)
RELEASE = ("", "IEMOCAP_full_release")
"""Where under a root the folders Session1 to Session5 may lie."""
SHARE = 0.1
"""Of the training utterances, for validation, where it must be carved."""
_SEPARATOR = " [split|sign] "
_ID = re.compile(r"(?P<dialogue>Ses0(?P<session>[1-5])[FM]_\w+)_[FM]\w+")
_LABELLED = re.compile(r"\[[\d. -]+\]\t(?P<id>\w+)\t(?P<code>\w+)\t.*")
_SPOKEN = re.compile(r"(?P<id>Ses\w+) \[[\d. -]+\]: ?(?P<text>.*)")


@dataclass(frozen=True)
class Utterance(Row):
    """An utterance with what is said. session: 1 to 5; dialogue: "Ses01F_impro01"."""

    text: str = ""
    session: int = 0
    dialogue: str = ""


def utterance(id: str, label: int, text: str, where: str) -> Utterance:
    """Parse the id of an utterance. Raises DataError for an id of another form than ``Ses01F_impro01_F000``."""
    match = _ID.fullmatch(id)
    if match is None:
        raise DataError(f"{where}: {id!r} is not of the form Ses01F_impro01_F000")
    return Utterance(id, label, where, "", text, int(match["session"]), match["dialogue"])


def read_list(path: Path) -> list[Utterance]:
    """Read lines ``<path or id>.mp4 [split|sign] transcript [split|sign] label``."""
    rows = []
    for where, line in read_lines(path):
        fields = line.split(_SEPARATOR)
        if len(fields) != 3:
            raise DataError(f"{where}: {len(fields)} fields between '{_SEPARATOR}', expected 3 (id, transcript, label)")
        name, text, label = (field.strip() for field in fields)
        id = Path(name).name.removesuffix(".mp4").removesuffix(".wav")
        rows.append(utterance(id, class_name(label, CLASSES, where), text, where))
    refuse_repeats(rows)
    return rows


def read_corpus(root: Path, lists: Lists) -> dict[str, Utterance]:
    """Read every utterance of the four classes by id: from ``Session1.txt`` to ``Session5.txt`` (as MLA makes them),
    else from the corpus' own labels and transcripts; empty where neither is there for all sessions."""
    tables = [lists.find(f"Session{session}.txt") for session in SESSIONS]
    if all(tables):
        rows = [row for table in tables if table for row in read_list(table)]
        refuse_repeats(rows)
        return {row.id: row for row in rows}
    dialogs = [find_session(root, session, "dialog") for session in SESSIONS]
    folders = [dialog for dialog in dialogs if dialog and find_folder(dialog, "EmoEvaluation")]
    if len(folders) < len(dialogs):
        return {}
    return {row.id: row for folder in folders for row in _read_session(folder)}


def find_session(root: Path, session: int, folder: str) -> Path | None:
    """Find ``Session<n>/<folder>`` of the release under ``root``."""
    return find_folder(root, *(f"{place}/Session{session}/{folder}".lstrip("/") for place in RELEASE))


def _read_session(dialog: Path) -> list[Utterance]:
    """Read a session from ``EmoEvaluation/*.txt`` and ``transcriptions/*.txt``."""
    spoken: dict[str, str] = {}
    for table in _texts(need_folder(dialog, "transcripts", "transcriptions")):
        for _, line in read_lines(table):
            if match := _SPOKEN.fullmatch(line):
                spoken[match["id"]] = match["text"].strip()
    rows = []
    for table in _texts(dialog / "EmoEvaluation"):
        for where, line in read_lines(table):
            match = _LABELLED.fullmatch(line)
            if match is None or match["code"] not in CODES:
                continue
            if match["id"] not in spoken:
                raise DataError(f"{where}: {match['id']} has no transcript under {dialog / 'transcriptions'}")
            rows.append(utterance(match["id"], CLASSES.index(CODES[match["code"]]), spoken[match["id"]], where))
    return rows


def _texts(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in entries(folder) if entry.name.endswith(".txt") and entry.is_file()]


def split_lists(
    train: list[Utterance], test: list[Utterance], corpus: Mapping[str, Utterance], seed: int
) -> tuple[dict[SplitName, list[Utterance]], str]:
    """MLA's lists with the rest of the corpus as validation; where the corpus' labels are not there, 10 % of each
    class of the training list. Raises DataError where lists and corpus contradict each other."""
    if not corpus:
        train, validation = carve(train, SHARE, seed)
        note = f"validation: {SHARE:.0%} of each class of the training list, as the corpus' labels are not in root"
        return {"train": train, "validation": validation, "test": test}, f"{note} (seed {seed})"
    for row in (*train, *test):
        if row.id not in corpus:
            raise DataError(f"{row.where}: {row.id} is not among the corpus' utterances of the four classes")
        if row.label != corpus[row.id].label:
            theirs = corpus[row.id]
            raise DataError(f"{row.where}: label {CLASSES[row.label]}, but {CLASSES[theirs.label]} in {theirs.where}")
    listed = {row.id for row in (*train, *test)}
    validation = [corpus[id] for id in sorted(corpus) if id not in listed]
    if not validation:
        raise DataError("the two lists name every utterance of the corpus; none is left for validation")
    return {"train": train, "validation": validation, "test": test}, "validation: what the lists leave of the corpus"


def split_session(
    rows: Collection[Utterance], test_session: int, seed: int
) -> tuple[dict[SplitName, list[Utterance]], str]:
    """Split with ``test_session`` as test; of the others, whole dialogues with about 10 % of each class as
    validation."""
    grouped = [replace(row, group=row.dialogue) for row in sorted(rows, key=lambda row: row.id)]
    rest = [row for row in grouped if row.session != test_session]
    train, validation = carve(rest, SHARE, seed)
    test = [row for row in grouped if row.session == test_session]
    note = f"test: session {test_session}; validation: dialogues with {SHARE:.0%} of the others (seed {seed})"
    return {"train": train, "validation": validation, "test": test}, note
