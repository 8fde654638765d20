"""Multimodal sarcasm in tweets with an image (Cai, Cai and Wan, ACL 2019;
headacheboy/data-of-multimodal-sarcasm-detection).

Training tweets that name what is to be detected (or hold a link) are left out: 19,816 of 29,040 remain, beside 2,410
for validation and 2,409 for the test."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from data.base import DataError, SplitDraws
from data.prepared import Form, Listing, Medium, SplitName
from data.prepared.lists.folders import files_by_stem, need_folder, open_root
from data.prepared.lists.media_files import Files, find_media
from data.prepared.lists.rows import Lists, Row, class_number, read_lines, refuse_repeats
from data.prepared.lists.words import plain_words
from data.prepared.source import PreparedSource
from data.readers.tweets import AS_IT_IS, AUGMENTED, CLIP, TweetOptions, TweetProfile

CLASSES = ("not sarcastic", "sarcastic")
FILES: Mapping[SplitName, tuple[str, int]] = {
    "train": ("train.txt", 3),
    "validation": ("valid2.txt", 4),
    "test": ("test2.txt", 4),
}
"""Name, and fields of a line: id, text, label by hashtag, and in two of them the label by a person."""
TELLING = frozenset(
    ("exgag", "sarcasm", "sarcastic", "reposting", "<url>", "joke", "humour", "humor", "jokes", "irony", "ironic")
)
"""Words that give a tweet away. As whole words between blanks: searched for within words, they would drop more."""
_LISTS = ("text", "")
_IMAGES = ("dataset_image",)

PROFILES: Mapping[str, TweetProfile] = {
    "plain": TweetProfile(),
    "bss": TweetProfile(AUGMENTED, 128, words=partial(plain_words, most=50)),
    "igm": TweetProfile(AUGMENTED, 128, words=partial(plain_words, most=50)),
    "amss": TweetProfile(AS_IT_IS, 128, special_tokens=False),
    "clip": TweetProfile(AUGMENTED, 77, tokenizer=CLIP, encoders={"text": "clip_text", "image": "clip_image"}),
}


class SarcasmOptions(TweetOptions):
    """Options of ``sarcasm``."""

    root: str = Field(min_length=1, description="folder with text (lists) and dataset_image")


@dataclass(frozen=True)
class TweetRow(Row):
    """A tweet; its image has its id."""

    text: str = ""


def parse(line: str, where: str, fields: int) -> TweetRow:
    """Parse a line, which is a Python list of strings and numbers; the last field is the label. Raises DataError."""
    try:
        found = ast.literal_eval(line.strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise DataError(f"{where}: not a Python list such as ['123', 'the text', 1]") from error
    if not isinstance(found, list) or len(found) != fields:
        count = f"{len(found)} fields" if isinstance(found, list) else type(found).__name__
        raise DataError(f"{where}: {count}, expected a list of {fields} (id, text, label{', label' * (fields - 3)})")
    id, text, label = found[0], found[1], found[-1]
    if not isinstance(id, str) or not isinstance(text, str):
        raise DataError(f"{where}: id and text must be quoted strings, not {id!r} and {text!r}")
    return TweetRow(id, class_number(str(label), len(CLASSES), where), where, "", text)


def read_list(path: Path, fields: int) -> list[TweetRow]:
    """Read the rows of a list. Raises DataError naming the line."""
    rows = [parse(line, where, fields) for where, line in read_lines(path)]
    if not rows:
        raise DataError(f"{path}: no rows; copy or download it again")
    return rows


class Sarcasm(PreparedSource[SarcasmOptions]):
    """``text``: ids and mask [2, length]; ``image``: [3, size, size], grey where the file cannot be read.

    Papers report accuracy and macro-F1; 60.2 % of the test are not sarcastic."""

    name = "sarcasm"
    paper = "Cai, Cai and Wan, ACL 2019"
    title = "Sarcasm in tweets with an image (two classes)"
    terms = "none stated; tweets and images belong to third parties"
    paths = frozenset({"root", "lists"})
    recipe: ClassVar[Mapping[str, Any]] = {
        "optimizer": "adam",
        "lr": 0.0001,
        "batch_size": 64,
        "schedule": {"name": "step", "every": 70},
        "epochs": 100,
    }

    @classmethod
    def modalities(cls, options: SarcasmOptions) -> tuple[str, ...]:
        return ("text", "image")

    @classmethod
    def encoders(cls, options: SarcasmOptions) -> dict[str, Any]:
        return dict(PROFILES[options.profile].encoders)

    @classmethod
    def forms(cls, options: SarcasmOptions) -> dict[str, Form]:
        return PROFILES[options.profile].forms(options)

    @classmethod
    def split_draws(cls, options: SarcasmOptions) -> SplitDraws:
        return "nothing"

    @classmethod
    def listing(cls, options: SarcasmOptions) -> Listing:
        root = open_root(options.root, "set `root` to the folder that holds text and dataset_image")
        lists = Lists.under(root, options.lists, _LISTS, "headacheboy/data-of-multimodal-sarcasm-detection, text")
        listed = {split: read_list(lists.need(name), fields) for split, (name, fields) in FILES.items()}
        refuse_repeats(row for rows in listed.values() for row in rows)
        splits = {
            split: [row for row in rows if TELLING.isdisjoint(row.text.split())] for split, rows in listed.items()
        }
        told = sum(map(len, listed.values())) - sum(map(len, splits.values()))
        images = need_folder(root, "images", *_IMAGES)
        pictures = Files(files_by_stem(images, {".jpg"}), f"picture in {images.name}")
        words = PROFILES[options.profile].words

        def media(row: TweetRow) -> dict[str, Medium]:
            return {"text": words(row.text), "image": pictures[row.id]}

        items, missing = find_media(splits, media, options.allowed_missing)
        return Listing(CLASSES, items, missing, (f"{told} tweets left out, as a word gives them away",))
