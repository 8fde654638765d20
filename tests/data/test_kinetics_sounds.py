from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.dataset_folders import counts, ids, lines, manifests, needs_manifests, touch
from support.declarations import assert_declared, assert_paths_have_names

from data.base import DataError
from data.kinetics_sounds import CLASSES, KineticsSounds, KineticsSoundsOptions
from data.prepared import Listing

TRAIN = [f"{letter}_-cdEfGhI{letter}_{start:06d}_{start + 10:06d}" for letter in "abcdefghij" for start in (0, 12)]
VALIDATION = ["-_vdEfGhIjK_7", "__vdEfGhIj__108"]
TEST = ["-3tdEfGhI_4_2", "ttttEfGhIjK_61"]


def number_list(path: Path, stems: list[str], end: str = "\r\n") -> None:
    lines(path, [f"{stem},10,{position % 2}" for position, stem in enumerate(stems)], end)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The archives' tree with the numbered lists: 20 / 2 / 2 clips, unpadded in validation and test."""
    number_list(tmp_path / "my_train.txt", TRAIN)
    number_list(tmp_path / "my_val.txt", VALIDATION, "\n")
    number_list(tmp_path / "my_test.txt", TEST)
    for part, stems in (("train", TRAIN), ("val", VALIDATION), ("val", TEST)):
        for stem in stems:
            id, start = stem[:11], int(stem[12:].split("_")[0])
            touch(tmp_path / "k400" / part / f"{id}_{start:06d}_{start + 10:06d}.mp4")
    return tmp_path


def listing(root: Path, **options: Any) -> Listing:
    return KineticsSounds.listing(KineticsSoundsOptions(root=str(root), **options))


def extract(root: Path, part: str, stems: list[str], each: int = 4, name: str = "{:05d}.jpg") -> None:
    for stem in stems:
        touch(root / f"{part}_wav" / f"{stem}.wav")
        touch(*(root / f"{part}_img" / "Image-01-FPS" / stem / name.format(number) for number in range(each)))


# The tree -------------------------------------------------------------------------------------------------------------


def test_the_archives_tree_with_padded_and_plain_stems(tree: Path) -> None:
    found = listing(tree)
    assert ids(found)["validation"] == ["-_vdEfGhIjK_000007", "__vdEfGhIj__000108"]
    assert ids(found)["test"] == ["-3tdEfGhI_4_000002", "ttttEfGhIjK_000061"]
    assert {split: len(names) for split, names in ids(found).items()} == {"train": 20, "validation": 2, "test": 2}
    first = found.splits["test"][0]
    video = tree / "k400" / "val" / "-3tdEfGhI_4_000002_000012.mp4"
    assert first.media == {"audio": video, "video": video}
    assert first.group == "-3tdEfGhI_4"
    assert found.classes[:3] == ("blowing nose", "blowing out candles", "bowling")
    assert found.notes == ("split: my_train.txt, my_val.txt, my_test.txt",)


def test_the_official_repositories_tree(tree: Path) -> None:
    extract(tree, "train", TRAIN, name="frame_{:05d}.jpg")
    extract(tree, "test", VALIDATION + TEST)
    found = listing(tree).splits
    folder = tree / "train_img" / "Image-01-FPS" / TRAIN[0]
    assert found["train"][0].media["audio"] == tree / "train_wav" / f"{TRAIN[0]}.wav"
    assert found["train"][0].media["video"] == tuple(folder / f"frame_0000{number}.jpg" for number in range(4))
    assert found["validation"][1].media["audio"] == tree / "test_wav" / "__vdEfGhIj__108.wav"


def test_clips_of_three_frames_are_left_out(tree: Path) -> None:
    extract(tree, "train", TRAIN[2:])
    extract(tree, "test", VALIDATION + TEST)
    extract(tree, "train", TRAIN[:2], each=3)
    found = listing(tree)
    reason = "3 frames of frames, fewer than 4"
    assert found.missing == (("a_-cdEfGhIa_000000", reason), ("a_-cdEfGhIa_000012", reason))
    extract(tree, "train", TRAIN[2:4], each=0)
    for stem in TRAIN[2:4]:
        (tree / "train_img" / "Image-01-FPS" / stem / "00000.jpg").unlink()
    with pytest.raises(
        DataError, match=r"train: 4 of 20 samples cannot be used, 20\.0% where `allowed_missing` is 15\.0%"
    ):
        listing(tree)
    assert len(listing(tree, allowed_missing=0.2).splits["train"]) == 16


# Splits ---------------------------------------------------------------------------------------------------------------


def test_validation_is_carved_by_video_without_its_list(tree: Path) -> None:
    (tree / "my_val.txt").unlink()
    number_list(tree / "my_train.txt", [stem for pair in zip(TRAIN[::2], TRAIN[1::2], strict=True) for stem in pair])
    found = listing(tree)
    videos = {split: {item.group for item in items} for split, items in found.splits.items()}
    assert counts(found)["validation"] == {0: 1, 1: 1}
    assert not videos["train"] & videos["validation"]
    assert found.notes == ("validation: 10% of each class of my_train.txt, by video (seed 0)",)


def database(tree: Path, **changes: Any) -> None:
    entries = {stem: {"subset": "training", "label": CLASSES[i % 2].replace(" ", "_")} for i, stem in enumerate(TRAIN)}
    entries |= {stem: {"subset": "validation", "label": "bowling"} for stem in VALIDATION}
    entries |= {stem: {"subset": "testing", "label": "tapping_pen"} for stem in TEST}
    lines(tree / "KS_train_val.json", [json.dumps({"labels": [], "database": entries | changes})])


def test_the_database_brings_all_three_parts(tree: Path) -> None:
    numbered = ids(listing(tree))
    database(tree)
    found = listing(tree)
    assert ids(found) == numbered
    assert [item.label for item in found.splits["validation"]] == [2, 2]
    assert CLASSES[found.splits["test"][0].label] == "tapping pen"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"subset": "dev", "label": "bowling"},
            r"ks_1.*: unknown subset 'dev'; there are: training, validation, testing",
        ),
        (
            {"subset": "training", "label": "bowlin"},
            r"json, xxxxxxxks_1_2: unknown label 'bowlin'; did you mean 'bowling'\?",
        ),
        ({"subset": "training"}, r"KS_train_val\.json: not of the form"),
        (["training"], r"KS_train_val\.json: not of the form"),
    ],
)
def test_a_wrong_database_is_refused(tree: Path, entry: Any, message: str) -> None:
    database(tree, xxxxxxxks_1_2=entry)
    with pytest.raises(DataError, match=message):
        listing(tree)
    (tree / "KS_train_val.json").write_text('{"database": {\n"a": }}')
    with pytest.raises(DataError, match=r"KS_train_val\.json, line 2: not JSON"):
        listing(tree)


def test_the_lists_of_the_njustkmg_repositories(tree: Path) -> None:
    for name in ("my_train.txt", "my_test.txt", "my_val.txt"):
        (tree / name).unlink()
    rows = [f"{CLASSES[3 + position % 2]},{stem}" for position, stem in enumerate(TRAIN)]
    lines(tree / "annotations" / "train.csv", ["label,youtube_id", *rows])
    lines(tree / "annotations" / "test.csv", ["youtube_id,label", *(f"{stem},tap_dancing" for stem in TEST)])
    found = listing(tree)
    assert counts(found) == {"train": {3: 9, 4: 9}, "validation": {3: 1, 4: 1}, "test": {27: 2}}
    lines(tree / "annotations" / "test.csv", ["youtube_id,label", "short,tap_dancing"])
    with pytest.raises(DataError, match=r"test\.csv, line 2: 'short' is not of the form"):
        listing(tree)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["label,stem", "bowling,a"], r"train\.csv, line 1: columns label, stem, expected youtube_id and label among"),
        (["label,youtube_id", "bowling"], r"train\.csv, line 2: 1 columns, expected 2 \(label, youtube_id\)"),
    ],
)
def test_annotations_with_other_columns_are_refused(tree: Path, rows: list[str], message: str) -> None:
    (tree / "my_train.txt").unlink()
    lines(tree / "annotations" / "train.csv", rows)
    with pytest.raises(DataError, match=message):
        listing(tree)


def test_the_list_of_all_of_kinetics_is_not_taken_for_that_of_the_subset(tree: Path) -> None:
    (tree / "my_train.txt").unlink()
    lines(tree / "annotations" / "train.csv", ["label,youtube_id,time_start,time_end,split,is_cc"])
    with pytest.raises(
        DataError, match=r"train\.csv: the list of all of Kinetics, not of Kinetics-Sounds; set `lists`"
    ):
        listing(tree)
    (tree / "annotations" / "train.csv").unlink()
    with pytest.raises(DataError, match=r"no file my_train\.txt or train\.csv; looked in .*OGM-GE_CVPR2022"):
        listing(tree)


@needs_manifests
def test_the_real_lists_have_the_documented_sizes(tmp_path: Path) -> None:
    folder = manifests("kinetics_sounds")
    assert tuple((folder / "classes.txt").read_text().split("\n")[:-1]) == CLASSES
    (tmp_path / "train_wav").mkdir()
    (tmp_path / "train").mkdir()
    for name in ("my_train.txt", "my_val.txt", "my_test.txt"):
        for row in (folder / name).read_text().split():
            (tmp_path / "train" / f"{row.split(',')[0]}.mp4").touch()
    found = listing(tmp_path, lists=str(folder))
    sizes = {split: list(count.values()) for split, count in counts(found).items()}
    assert {split: sum(each) for split, each in sizes.items()} == {"train": 14799, "validation": 1320, "test": 2597}
    assert {split: (len(each), min(each), max(each)) for split, each in sizes.items()} == {
        "train": (31, 197, 690),
        "validation": (31, 30, 49),
        "test": (31, 63, 92),
    }
    groups = [{item.group for item in items} for items in found.splits.values()]
    assert len(set.union(*groups)) == 14799 + 1320 + 2597


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("AbCdEfGhIjK_1,10", r"my_val\.txt, line 1: 2 columns, expected 3 \(stem, seconds, class index\)"),
        ("AbCdEfGhIjK_1,10,31", r"my_val\.txt, line 1: label 31 is out of range; labels go from 0 to 30"),
        ("AbCdEfGhIjK_1,ten,3", r"my_val\.txt, line 1: seconds 'ten' is not a whole number"),
        ("AbCdEfGhIj_1,10,3", r"my_val\.txt, line 1: 'AbCdEfGhIj_1' is not of the form <YouTube id"),
        (f"{TRAIN[0][:11]}_0,10,3", r"my_val\.txt, line 1: a_-cdEfGhIa_000000 stands also in .*my_train\.txt, line 1"),
    ],
)
def test_a_wrong_row_is_named(tree: Path, row: str, message: str) -> None:
    lines(tree / "my_val.txt", [row])
    with pytest.raises(DataError, match=message):
        listing(tree)


def test_a_root_without_clips_is_explained(tree: Path) -> None:
    for path in (tree / "k400").rglob("*.mp4"):
        path.unlink()
    touch(tree / "k400" / "train" / "part_0.tar.gz.aria2")
    with pytest.raises(DataError, match=r"no clips; .*part_0\.tar\.gz\.aria2 is a download that was not"):
        listing(tree)


def test_encoders_and_the_recipe_are_those_of_the_papers() -> None:
    assert_declared(
        KineticsSounds,
        {"root": "r"},
        {"audio": "resnet18", "video": "resnet18"},
        100,
        optimizer="sgd",
        lr=0.01,
        batch_size=64,
    )


def test_paths_have_names() -> None:
    assert_paths_have_names(KineticsSounds)
