from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from support.dataset_folders import counts, ids, lines, manifests, needs_manifests, touch
from support.declarations import assert_declared, assert_paths_have_names

from data.base import DataError
from data.prepared import Listing
from data.sarcasm import FILES, TELLING, Sarcasm, SarcasmOptions, parse, read_list

TRAIN = [
    "['101', 'what a lovely morning to wait for the bus # commute', 1]",
    "['102', \"it 's new at the museum emoji_15\", 0]",
    "['103', 'this is # sarcasm you know', 1]",
    "['104', 'look <url>', 0]",
    "['105', 'ironically , the jokester was humorous # notsarcasm', 1]",
    "['106', '', 0]",
]
VALID = ["['201', 'well - played ...', 0, 1]", "['202', 'a joke', 1, 0]", "['203', 'fine', 0, 0]"]
TEST = ["['301', 'great', 1, 1]", "['302', 'great', 1, 0]"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, rows in (("train", TRAIN), ("valid2", VALID), ("test2", TEST)):
        lines(tmp_path / "text" / f"{name}.txt", rows, "\r\n")
    numbers = (101, 102, 105, 106, 201, 203, 301, 302)  # dropped tweets have no picture
    touch(*(tmp_path / "dataset_image" / f"{number}.jpg" for number in numbers))
    return tmp_path


def listing(root: Path, **options: Any) -> Listing:
    return Sarcasm.listing(SarcasmOptions(root=str(root), **options))


def test_tweets_with_a_telling_word_are_left_out(tree: Path) -> None:
    found = listing(tree)
    assert found.classes == ("not sarcastic", "sarcastic")
    assert ids(found) == {"train": ["101", "102", "105", "106"], "validation": ["201", "203"], "test": ["301", "302"]}
    assert found.notes == ("3 tweets left out, as a word gives them away",)
    assert found.splits["train"][1].media == {
        "text": "it 's new at the museum emoji_15",
        "image": tree / "dataset_image" / "102.jpg",
    }


def test_the_last_field_is_the_label(tree: Path) -> None:
    assert counts(listing(tree)) == {"train": {0: 2, 1: 2}, "validation": {0: 1, 1: 1}, "test": {0: 1, 1: 1}}
    assert [parse(row, "here", 4).label for row in VALID] == [1, 0, 0]


def test_words_as_the_repositories_keep_them(tree: Path) -> None:
    texts = [item.media["text"] for item in listing(tree, profile="bss").splits["train"]]
    assert texts[1] == "it s new at the museum emoji_15"
    assert listing(tree, profile="igm").splits["validation"][0].media["text"] == "well played"
    lines(tree / "text" / "test2.txt", [f"['301', '{'word ' * 60}', 1, 1]"])
    assert len(str(listing(tree, profile="igm").splits["test"][0].media["text"]).split()) == 50


@needs_manifests
def test_the_real_lists_have_the_documented_sizes() -> None:
    folder = manifests("sarcasm")
    for name, sizes in (("valid2.txt", [1451, 959]), ("test2.txt", [1450, 959])):
        rows = read_list(folder / name, 4)
        assert [sum(row.label == label for row in rows) for label in (0, 1)] == sizes
        assert all(TELLING.isdisjoint(row.text.split()) for row in rows)
        hashtag = [int(line.rsplit(",", 2)[1]) for line in (folder / name).read_text().splitlines()]
        assert sum(row.label != tag for row, tag in zip(rows, hashtag, strict=True)) == {"v": 87, "t": 144}[name[0]]
    head = read_list(folder / "train_head.txt", 3)
    kept = [row for row in head if TELLING.isdisjoint(row.text.split())]
    assert (len(head), len(kept)) == (400, 229)
    with (folder / "train_kept_ids.csv").open(newline="") as file:
        expected = [(row["id"], int(row["label"])) for row in csv.DictReader(file)]
    assert [(row.id, row.label) for row in kept] == expected[:229]
    assert [sum(label == wanted for _, label in expected) for wanted in (0, 1)] == [11174, 8642]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("['9', 'text', 1, 1]", r"train\.txt, line 1: 4 fields, expected a list of 3 \(id, text, label\)"),
        ("['9', 'text']", r"train\.txt, line 1: 2 fields, expected a list of 3"),
        ("'text'", r"train\.txt, line 1: str, expected a list of 3"),
        ("['9', 'text', 2]", r"train\.txt, line 1: label 2 is out of range; labels go from 0 to 1"),
        ("['9', 'text', 'x']", r"train\.txt, line 1: label 'x' is not a whole number"),
        ("[9, 'text', 1]", r"train\.txt, line 1: id and text must be quoted strings, not 9 and 'text'"),
        ("['9', 'text, 1]", r"train\.txt, line 1: not a Python list such as"),
        ("__import__('os').getcwd()", r"train\.txt, line 1: not a Python list such as"),
        (f"{TRAIN[2]}\n{TRAIN[2]}", r"train\.txt, line 2: 103 stands also in .*train\.txt, line 1"),
    ],
)
def test_a_wrong_line_is_named(tree: Path, row: str, message: str) -> None:
    lines(tree / "text" / "train.txt", [row])
    with pytest.raises(DataError, match=message):
        listing(tree)


def test_both_kinds_of_lists_and_their_fields() -> None:
    assert FILES == {"train": ("train.txt", 3), "validation": ("valid2.txt", 4), "test": ("test2.txt", 4)}
    with pytest.raises(DataError, match=r"here: 3 fields, expected a list of 4 \(id, text, label, label\)"):
        parse("['9', 'text', 1]", "here", 4)


def test_what_is_not_there_is_explained(tree: Path) -> None:
    (tree / "dataset_image" / "101.jpg").unlink()
    with pytest.raises(DataError, match=r"train: 1 of 4 samples .*101: no picture in dataset_image"):
        listing(tree)
    for path in (tree / "dataset_image").iterdir():
        path.unlink()
    touch(tree / "dataset_image" / "dataset_image.rar")
    with pytest.raises(DataError, match=r"no images; expected dataset_image\. dataset_image\.rar lies there: unpack"):
        listing(tree)
    (tree / "text" / "valid2.txt").unlink()
    with pytest.raises(DataError, match=r"no file valid2\.txt; looked in .*headacheboy"):
        listing(tree)


def test_encoders_and_the_recipe_are_those_of_the_papers() -> None:
    assert_declared(
        Sarcasm, {"root": "r"}, {"text": "bert", "image": "resnet50"}, 100, optimizer="adam", lr=0.0001, batch_size=64
    )
    assert_declared(
        Sarcasm,
        {"root": "r", "profile": "clip"},
        {"text": "clip_text", "image": "clip_image"},
        100,
        optimizer="adam",
        lr=0.0001,
        batch_size=64,
    )


def test_paths_have_names() -> None:
    assert_paths_have_names(Sarcasm)
