from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.dataset_folders import STUB, counts, ids, lines, manifests, needs_manifests, touch
from support.declarations import assert_declared, assert_paths_have_names

from data.base import DataError
from data.prepared import Listing
from data.twitter2015 import Twitter2015, Twitter2015Options, read_list

HEADER = "index\t#1 Label\t#2 ImageID\t#3 String\t#3 String"
SHORT = "index\t#1 ImageID\t#2 String\t#2 String"
TRAIN = [
    '1\t2\t11.jpg\tEnjoying the "match with $T$ tonight\tRiver City FC',
    '2\t1\t11.jpg\tEnjoying the "match with Someone at $T$\tNorth Park',
    "3\t0\t12.jpg\tRT @ Bob's well-known $T$ 4you !\t# Rain",
]
DEV = ["1\t0\t13.jpg\t$T$ again\tMonday"]
TEST = ["1\t1\t14.jpg\tA café in $T$\tOslo", "2\t2\t15.jpg\tHello $T$\tthere"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    lines(tmp_path / "twitter2015" / "train.tsv", [HEADER, *TRAIN])
    lines(tmp_path / "twitter2015" / "dev.tsv", [HEADER, *DEV])
    lines(tmp_path / "twitter2015" / "test.tsv", [SHORT, *TEST])
    touch(*(tmp_path / "twitter2015_images" / f"{number}.jpg" for number in (11, 12, 13, 14, 15)))
    return tmp_path


def listing(root: Path, **options: Any) -> Listing:
    return Twitter2015.listing(Twitter2015Options(root=str(root), **options))


def texts(found: Listing) -> list[Any]:
    return [item.media["text"] for items in found.splits.values() for item in items]


def test_rows_are_read_by_position_whatever_the_header_names(tree: Path) -> None:
    found = listing(tree)
    assert found.classes == ("negative", "neutral", "positive")
    assert counts(found) == {"train": {0: 1, 1: 1, 2: 1}, "validation": {0: 1}, "test": {1: 1, 2: 1}}
    assert ids(found)["train"] == ["train-1", "train-2", "train-3"]
    assert [item.group for item in found.splits["train"]] == ["11.jpg", "11.jpg", "12.jpg"]
    assert found.splits["test"][0].media == {
        "text": "A café in $T$",
        "image": tree / "twitter2015_images" / "14.jpg",
    }
    assert texts(found)[0] == 'Enjoying the "match with $T$ tonight'


def test_the_target_is_seen_on_request(tree: Path) -> None:
    found = listing(tree, text_mode="tweet+target")
    assert texts(found)[1] == 'Enjoying the "match with Someone at $T$\tNorth Park'
    assert found.notes == ("text: tweet+target",)
    form = Twitter2015.forms(Twitter2015Options(root=str(tree), text_mode="tweet+target"))["text"]
    assert "pair=True" in repr(form)


def test_words_as_the_repositories_keep_them(tree: Path) -> None:
    lines(tree / "twitter2015" / "dev.tsv", [HEADER, "1\t0\t13.jpg\t" + "go $T$ " * 30 + "\tMonday"])
    assert texts(listing(tree, profile="igm"))[2] == "rt bob s well known t"
    assert texts(listing(tree, profile="igm"))[3].split() == ["go", "t"] * 25
    assert texts(listing(tree, profile="bss"))[3].split() == ["go", "t"] * 10
    assert texts(listing(tree, profile="amss"))[2] == "RT @ Bob's well-known $T$ 4you !"


@pytest.mark.parametrize("folder", ["absa_data/twitter2015", "annotations", ""])
def test_lists_where_the_repositories_keep_them(tree: Path, folder: str) -> None:
    expected = ids(listing(tree))
    (tree / folder).mkdir(parents=True, exist_ok=True)
    for path in sorted((tree / "twitter2015").iterdir()):
        path.rename(tree / folder / path.name)
    assert ids(listing(tree)) == expected


def test_a_missing_image_is_named(tree: Path) -> None:
    (tree / "twitter2015_images" / "14.jpg").unlink()
    with pytest.raises(DataError, match=r"test: 1 of 2 samples .*test-1: no picture in twitter2015_images"):
        listing(tree)
    assert listing(tree, allowed_missing=0.5).missing == (("test-1", "no picture in twitter2015_images"),)


@needs_manifests
def test_the_real_lists_have_the_documented_sizes() -> None:
    folder = manifests("twitter2015")
    train, dev, test = (
        read_list(folder / f"{name}.tsv", split)  # type: ignore[arg-type]
        for name, split in (("train", "train"), ("dev", "validation"), ("test", "test"))
    )
    sizes = [[sum(row.label == label for row in rows) for label in range(3)] for rows in (train, dev, test)]
    assert sizes == [[368, 1883, 928], [149, 670, 303], [113, 607, 317]]
    images = [{row.group for row in rows} for rows in (train, dev, test)]
    assert len(images[0]) == 2101
    assert len(set.union(*images)) == sum(map(len, images))
    assert len({row.id for rows in (train, dev, test) for row in rows}) == 3179 + 1122 + 1037
    assert all("$T$" in row.tweet and row.target for rows in (train, dev, test) for row in rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1\t0\t13.jpg\t$T$ again", r"dev\.tsv, line 2: 4 columns, expected 5 \(index, label, image, tweet, target\)"),
        ("1\t3\t13.jpg\t$T$\tx", r"dev\.tsv, line 2: label 3 is out of range; labels go from 0 to 2"),
        ("1\t-1\t13.jpg\t$T$\tx", r"dev\.tsv, line 2: label '-1' is not a whole number"),
        ("13.jpg\t1\t1\t$T$\tx", r"dev\.tsv, line 2: index '13\.jpg' is not a whole number"),
        (f"{DEV[0]}\n{DEV[0]}", r"dev\.tsv, line 3: validation-1 stands also in .*dev\.tsv, line 2"),
    ],
)
def test_a_wrong_row_is_named(tree: Path, row: str, message: str) -> None:
    lines(tree / "twitter2015" / "dev.tsv", [HEADER, row])
    with pytest.raises(DataError, match=message):
        listing(tree)


def test_a_list_of_another_encoding_is_named(tree: Path) -> None:
    path = tree / "twitter2015" / "test.tsv"
    path.write_bytes(path.read_text().encode("latin-1"))
    with pytest.raises(DataError, match=r"test\.tsv, line 2: byte 0xe9 is not UTF-8"):
        listing(tree)


def test_what_is_not_there_is_explained(tree: Path) -> None:
    touch(*(tree / "twitter2015_images" / f"{number}.jpg" for number in range(11, 16)), content=STUB)
    with pytest.raises(DataError, match=r"twitter2015_images: 5 of 5 files are Git LFS pointers"):
        listing(tree)
    for path in (tree / "twitter2015_images").iterdir():
        path.unlink()
    touch(tree / "IJCAI2019_data.zip.part")
    with pytest.raises(
        DataError, match=r"no images; expected twitter2015_images or .*IJCAI2019_data\.zip\.part is a down"
    ):
        listing(tree)
    (tree / "twitter2015" / "dev.tsv").unlink()
    with pytest.raises(DataError, match=r"no file dev\.tsv; looked in .*jefferyYu/TomBERT"):
        listing(tree)


def test_encoders_and_the_recipe_are_those_of_the_papers() -> None:
    assert_declared(
        Twitter2015, {"root": "r"}, {"text": "bert", "image": "resnet50"}, 113, optimizer="sgd", lr=0.001, batch_size=32
    )
    assert_declared(
        Twitter2015,
        {"root": "r", "profile": "clip"},
        {"text": "clip_text", "image": "clip_image"},
        113,
        optimizer="sgd",
        lr=0.001,
        batch_size=32,
    )


def test_paths_have_names() -> None:
    assert_paths_have_names(Twitter2015)
