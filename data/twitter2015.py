"""Twitter2015: sentiment towards a target named in a tweet with an image (TomBERT; jefferyYu/TomBERT,
`absa_data/twitter2015`).

One tweet gives a row for each of its targets; no image occurs in two splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from data.base import SplitDraws
from data.prepared import Form, Listing, Medium, SplitName
from data.prepared.forms import Image
from data.prepared.lists.folders import files_by_stem, need_folder, open_root
from data.prepared.lists.media_files import Files, find_media
from data.prepared.lists.rows import Lists, Row, class_number, number, read_table, tabs
from data.prepared.lists.words import letter_words
from data.prepared.source import PreparedSource
from data.readers.tweets import AS_IT_IS, AUGMENTED, CLIP, TweetOptions, TweetProfile

CLASSES = ("negative", "neutral", "positive")
FILES: Mapping[SplitName, str] = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
_LISTS = ("", "twitter2015", "absa_data/twitter2015", "annotations")
_IMAGES = ("twitter2015_images", "absa_data/twitter2015_images", "IJCAI2019_data/twitter2015_images")
_COLUMNS = ("index", "label", "image", "tweet", "target")

_LARGE = Image(size=384, stored_size=384, normalise=None, crop_scale=None, flip=False, grey_if_unreadable=True)
PROFILES: Mapping[str, TweetProfile] = {
    "plain": TweetProfile(),
    "bss": TweetProfile(_LARGE, 128, words=partial(letter_words, most=20)),
    "igm": TweetProfile(AUGMENTED, 128, words=partial(letter_words, most=50)),
    "amss": TweetProfile(AS_IT_IS, 128, special_tokens=False),
    "clip": TweetProfile(AUGMENTED, 77, tokenizer=CLIP, encoders={"text": "clip_text", "image": "clip_image"}),
}


class Twitter2015Options(TweetOptions):
    """Options of ``twitter2015``."""

    root: str = Field(min_length=1, description="folder with twitter2015 (tsv files) and twitter2015_images")
    text_mode: Literal["tweet", "tweet+target"] = Field(
        "tweet", description="tweet: as the papers do, $T$ where the target was; tweet+target: both, as a pair"
    )


@dataclass(frozen=True)
class TweetRow(Row):
    """A target in a tweet, where it is replaced by ``$T$``; its group is the image."""

    tweet: str = ""
    target: str = ""


def read_list(path: Path, split: SplitName) -> list[TweetRow]:
    """Read rows of five fields between tabs, by position: the header of test.tsv names four columns for the five."""
    rows = []
    for line in read_table(path, _COLUMNS, header=lambda fields: fields[0] == "index", split=tabs):
        index, label, image, tweet, target = line.fields
        id = f"{split}-{number(index, line.where, 'index')}"
        rows.append(TweetRow(id, class_number(label, len(CLASSES), line.where), line.where, image, tweet, target))
    return rows


class Twitter2015(PreparedSource[Twitter2015Options]):
    """``text``: ids and mask [2, length]; ``image``: [3, size, size], grey where the file cannot be read.

    With ``text_mode: tweet`` a method sees where the target stands (the rows of one tweet differ in the place of
    ``$T$`` alone), not what it is. Papers report accuracy and macro-F1; 58.5 % of the test are neutral."""

    name = "twitter2015"
    paper = "Yu and Jiang, IJCAI 2019"
    title = "Twitter2015 (sentiment towards a target, three classes)"
    terms = "none stated; tweets and images belong to third parties"
    paths = frozenset({"root", "lists"})
    recipe: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.001,
        "batch_size": 32,
        "schedule": {"name": "step", "every": 70},
        "epochs": 113,
    }

    @classmethod
    def modalities(cls, options: Twitter2015Options) -> tuple[str, ...]:
        return ("text", "image")

    @classmethod
    def encoders(cls, options: Twitter2015Options) -> dict[str, Any]:
        return dict(PROFILES[options.profile].encoders)

    @classmethod
    def forms(cls, options: Twitter2015Options) -> dict[str, Form]:
        return PROFILES[options.profile].forms(options, pair=options.text_mode == "tweet+target")

    @classmethod
    def split_draws(cls, options: Twitter2015Options) -> SplitDraws:
        return "nothing"

    @classmethod
    def listing(cls, options: Twitter2015Options) -> Listing:
        root = open_root(options.root, "set `root` to the folder that holds twitter2015 and twitter2015_images")
        lists = Lists.under(root, options.lists, _LISTS, "jefferyYu/TomBERT, absa_data/twitter2015")
        splits = {split: read_list(lists.need(name), split) for split, name in FILES.items()}
        images = need_folder(root, "images", *_IMAGES)
        pictures = Files(files_by_stem(images, {".jpg"}), f"picture in {images.name}")
        words = PROFILES[options.profile].words

        def media(row: TweetRow) -> dict[str, Medium]:
            tweet = words(row.tweet)
            text = tweet if options.text_mode == "tweet" else f"{tweet}\t{words(row.target)}"
            return {"text": text, "image": pictures[row.group.removesuffix(".jpg")]}

        items, missing = find_media(splits, media, options.allowed_missing)
        return Listing(CLASSES, items, missing, (f"text: {options.text_mode}",))
