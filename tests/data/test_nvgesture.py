from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.dataset_folders import STUB, counts, ids, lines, touch
from support.declarations import assert_declared, assert_paths_have_names

from data.base import DataError
from data.nvgesture import NVGesture, NVGestureOptions, parse
from data.prepared import Clip, Listing

TRAIN = [(label, subject) for subject in (1, 2, 3, 4, 6) for label in range(1, 26)]
TEST = [(label, subject) for subject in (5, 8) for label in range(1, 26)]


def line(label: int, subject: int, start: int = 120, take: int = 0) -> str:
    window = f"{start}:{start + 80}"
    return (
        f"path:./Video_data/class_{label:02d}/subject{subject}_r{take} depth:sk_depth:{window} color:sk_color:{window} "
        f"duo_left:duo_left:142:235 label:{label} "
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    lines(tmp_path / "nvgesture_train_correct_cvpr2016_v2.lst", [line(*pair) for pair in TRAIN])
    lines(tmp_path / "nvgesture_test_correct_cvpr2016_v2.lst", [line(*pair) for pair in TEST])
    for label, subject in TRAIN + TEST:
        folder = tmp_path / "Video_data" / f"class_{label:02d}" / f"subject{subject}_r0"
        touch(folder / "sk_color.avi", folder / "sk_depth.avi", folder / "duo_left.avi", folder / "sk_color_log.txt")
    return tmp_path


def listing(root: Path, **options: Any) -> Listing:
    return NVGesture.listing(NVGestureOptions(root=str(root), **options))


def test_windows_of_colour_and_depth_and_flow_from_colour(tree: Path) -> None:
    found = listing(tree)
    assert found.classes == tuple(f"class_{number:02d}" for number in range(1, 26))
    folder = tree / "Video_data" / "class_01" / "subject5_r0"
    first = found.splits["test"][0]
    assert (first.id, first.label, first.group) == ("class_01/subject5_r0@120", 0, "subject5")
    colour = Clip(folder / "sk_color.avi", 120, 200)
    assert first.media == {"rgb": colour, "flow": colour, "depth": Clip(folder / "sk_depth.avi", 120, 200)}
    assert set(listing(tree, modalities=["depth"]).splits["test"][0].media) == {"depth"}
    with pytest.raises(ValueError, match="unknown modality 'infrared'; there are: rgb, flow, depth"):
        NVGestureOptions(root="x", modalities=["infrared"])


def test_validation_holds_whole_subjects_and_all_classes(tree: Path) -> None:
    found = listing(tree)
    subjects = {split: {item.group for item in items} for split, items in found.splits.items()}
    assert {split: len(names) for split, names in subjects.items()} == {"train": 4, "validation": 1, "test": 2}
    assert not subjects["train"] & subjects["validation"]
    assert counts(found)["validation"] == dict.fromkeys(range(25), 1)
    assert counts(found)["train"] == dict.fromkeys(range(25), 4)
    (held,) = subjects["validation"]
    assert found.notes == (f"validation: {held} of the training subjects (seed 0)",)
    others = [next(iter({i.group for i in listing(tree, split_seed=s).splits["validation"]})) for s in range(6)]
    assert len(set(others)) > 1


def test_a_subject_without_all_classes_is_not_held_out_alone(tree: Path) -> None:
    lines(tree / "nvgesture_train_correct_cvpr2016_v2.lst", [line(lab, s) for lab, s in TRAIN if lab % 10 != s % 10])
    found = listing(tree)
    assert len({item.group for item in found.splits["validation"]}) == 2
    assert set(counts(found)["validation"]) == set(counts(found)["train"]) == set(range(25))


def test_lists_too_short_for_whole_subjects_are_held_out_by_gesture(tree: Path) -> None:
    """As fifty clips of two subjects, of whom one has some of the classes."""
    short = [(label, subject) for label, subject in TRAIN if subject == 1 or (subject == 2 and label < 11)]
    file = tree / "nvgesture_train_correct_cvpr2016_v2.lst"
    lines(file, [line(*pair) for pair in short])
    found = listing(tree)
    assert counts(found)["validation"] == dict.fromkeys(range(10), 1)
    assert sum(counts(found)["train"].values()) == 25
    assert found.notes[0] == (
        "validation: 10 gestures of subjects that are trained on, too (seed 0): no choice of the 2 training subjects "
        "keeps all 25 classes on both sides; with the whole lists whole subjects are held out"
    )
    assert {item.group for items in found.splits.values() for item in items} >= {"subject1", "subject2"}
    lines(file, [line(label, 1) for label in range(1, 26)])
    with pytest.raises(DataError, match=r"both sides, and no class has two gestures; use longer lists"):
        listing(tree)


def test_a_line_is_read_by_its_keys() -> None:
    row = parse(line(7, 5), "here")
    shuffled = "label:7 color:sk_color:120:200 path:./Video_data/class_07/subject5_r0 depth:sk_depth:120:200"
    assert parse(shuffled, "here") == row
    assert (row.label, row.group, row.folder) == (6, "subject5", "Video_data/class_07/subject5_r0")
    assert (row.color.name, row.color.start, row.color.end) == ("sk_color", 120, 200)


def test_the_lists_under_their_other_name(tree: Path) -> None:
    expected = ids(listing(tree))
    for part in ("train", "test"):
        (tree / f"nvgesture_{part}_correct_cvpr2016_v2.lst").rename(tree / f"nvgesture_{part}_correct_v2.lst")
    assert ids(listing(tree)) == expected


def test_a_subject_on_both_sides_is_told(tree: Path) -> None:
    lines(tree / "nvgesture_test_correct_cvpr2016_v2.lst", [line(*pair) for pair in TEST] + [line(1, 1, start=90)])
    assert listing(tree).notes[1] == "subjects in training and test lists: subject1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(1, 5).replace("depth:", "deep:"), r"lst, line 1: no field depth:\.\.\.; a line reads path:\./Video_data"),
        (line(26, 5), r"lst, line 1: label 26 is out of range; labels go from 1 to 25"),
        (line(1, 5).replace("label:1", "label:0"), r"lst, line 1: label 0 is out of range; labels go from 1 to 25"),
        (line(1, 5).replace("color:120:200", "color:120"), r"color:sk_color:120 has 2 parts, expected name:start:end"),
        (line(1, 5).replace("color:120:200", "color:12x:200"), r"frame of color '12x' is not a whole number"),
        (line(1, 5).replace("color:120:200", "color:200:200"), r"color ends at frame 200, not after its start 200"),
        (line(1, 5).replace("subject5", "person5"), r"path \./Video_data/class_01/person5_r0 does not end in subject"),
        (f"{line(1, 5)}\n{line(1, 5)}", r"lst, line 2: class_01/subject5_r0@120 stands also in .*lst, line 1"),
    ],
)
def test_a_wrong_line_is_named(tree: Path, text: str, message: str) -> None:
    lines(tree / "nvgesture_test_correct_cvpr2016_v2.lst", [text])
    with pytest.raises(DataError, match=message):
        listing(tree)


def test_what_is_not_there_is_explained(tree: Path) -> None:
    folder = tree / "Video_data" / "class_03" / "subject8_r0"
    (folder / "sk_depth.avi").unlink()
    with pytest.raises(DataError, match=r"test: 1 of 50 samples .*class_03/subject8_r0@120: no sk_depth\.avi"):
        listing(tree)
    assert listing(tree, modalities=["rgb", "flow"]).missing == ()
    touch(folder / "sk_depth.avi", content=STUB)
    with pytest.raises(DataError, match=r"subject8_r0: 1 of 3 files are Git LFS pointers"):
        listing(tree)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"class_03/subject8_r0@120: no folder Video_data/class_03/subject8_r0"):
        listing(tree)
    (tree / "nvgesture_test_correct_cvpr2016_v2.lst").unlink()
    with pytest.raises(
        DataError, match=r"no file nvgesture_test_correct_cvpr2016_v2\.lst or nvgesture_test_correct_v2"
    ):
        listing(tree)


def test_an_archive_with_a_part_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "Video_data").mkdir()
    touch(*(tmp_path / f"nvGesture_v1.7z.{number}" for number in ("001", "002", "004")))
    with pytest.raises(
        DataError, match=r"no video; expected Video_data\. nvGesture_v1\.7z\.003 is missing among its 4"
    ):
        listing(tmp_path)


def test_encoders_and_the_recipe_are_those_of_the_papers() -> None:
    assert_declared(
        NVGesture,
        {"root": "r", "modalities": ["rgb", "depth"]},
        {"rgb": "i3d", "depth": "i3d"},
        100,
        optimizer="sgd",
        lr=0.01,
        batch_size=2,
    )


def test_paths_have_names() -> None:
    assert_paths_have_names(NVGesture)
