from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.dataset_folders import STUB, counts, ids, lines, manifests, needs_manifests, touch
from support.declarations import assert_declared, assert_paths_have_names

from data.base import DataError
from data.crema_d import CLASSES, UNUSABLE, CremaD, CremaDOptions
from data.prepared import Listing

STEMS = [
    f"{actor}_{sentence}_{emotion}_XX" for actor in (1001, 1002) for sentence in ("DFA", "IEO") for emotion in CLASSES
]


def split_lists(folder: Path, names: dict[str, list[str]], end: str = "\r\n", start: str = "") -> None:
    for name, stems in names.items():
        lines(folder / name, [f"{stem},{stem.split('_')[2]}" for stem in stems], end, start)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The source tree, with the author split beside it: 12 / 6 / 6."""
    for stem in STEMS:
        touch(tmp_path / "AudioWAV" / f"{stem}.wav", tmp_path / "VideoFlash" / f"{stem}.flv", content=b"x" * 300)
    split_lists(tmp_path, {"my_train.csv": STEMS[:12], "val.csv": STEMS[12:18], "test.csv": STEMS[18:]})
    return tmp_path


def listing(root: Path, **options: Any) -> Listing:
    return CremaD.listing(CremaDOptions(root=str(root), **options))


def frames(root: Path, each: int) -> None:
    for stem in STEMS:
        touch(*(root / "Image-01-FPS" / stem / f"{29 * number:05d}.jpg" for number in range(each)))


# The tree -------------------------------------------------------------------------------------------------------------


def test_the_source_tree_with_the_author_split(tree: Path) -> None:
    found = listing(tree)
    assert found.classes == ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
    assert ids(found) == {"train": STEMS[:12], "validation": STEMS[12:18], "test": STEMS[18:]}
    assert [item.label for item in found.splits["test"]] == [0, 1, 2, 3, 4, 5]
    assert found.splits["train"][0].media == {
        "audio": tree / "AudioWAV" / "1001_DFA_NEU_XX.wav",
        "video": tree / "VideoFlash" / "1001_DFA_NEU_XX.flv",
    }
    assert found.notes == ("author split: my_train.csv, val.csv, test.csv",)


def test_extracted_frames_are_taken_where_they_are(tree: Path) -> None:
    frames(tree, 2)
    video = listing(tree).splits["train"][0].media["video"]
    folder = tree / "Image-01-FPS" / STEMS[0]
    assert video == (folder / "00000.jpg", folder / "00029.jpg")


def test_other_frames_than_the_profiles_are_served_of_the_same_clips(tree: Path) -> None:
    frames(tree, 1)
    three = CremaDOptions(root=str(tree), frames=3)
    assert CremaD.forms(three)["video"].sample().shape == (3, 3, 224, 224)
    assert CremaD.forms(three)["audio"] == CremaD.forms(CremaDOptions(root=str(tree)))["audio"]
    assert ids(listing(tree, frames=3)) == ids(listing(tree))


def test_a_clip_needs_as_many_frames_as_its_profile_takes(tree: Path) -> None:
    frames(tree, 1)
    assert len(listing(tree).splits["train"]) == 12
    with pytest.raises(DataError, match=r"1 frame of Image-01-FPS, fewer than 2"):
        listing(tree, profile="iprm")
    frames(tree, 0)
    (tree / "Image-01-FPS" / STEMS[0] / "00000.jpg").unlink()
    with pytest.raises(DataError, match=r"train: 1 of 12 .*1001_DFA_NEU_XX: 0 frames of Image-01-FPS, fewer than 1"):
        listing(tree)
    found = listing(tree, exclude=[STEMS[0]])
    assert ids(found)["train"] == STEMS[1:12]
    assert found.notes[1] == "left out by `exclude`: 1001_DFA_NEU_XX"
    with pytest.raises(
        DataError, match=r"exclude: no clip '1001_DFA_NEU' in the lists; did you mean '1001_DFA_NEU_XX'"
    ):
        listing(tree, exclude=["1001_DFA_NEU"])


def test_clips_that_the_owner_calls_damaged_are_left_out(tree: Path) -> None:
    split_lists(tree, {"my_train.csv": [*UNUSABLE, *STEMS[:12]]})
    found = listing(tree)
    assert ids(found)["train"] == STEMS[:12]
    assert found.notes[1] == f"left out by `exclude`: {', '.join(UNUSABLE)}"
    with pytest.raises(DataError, match=r"train: 4 of 16 samples cannot be used.*no AudioWAV/\*\.wav"):
        listing(tree, exclude=[])


@pytest.mark.parametrize(
    "form", [{"end": "\n"}, {"start": "\ufeff"}, {"start": "name,label\n"}, {"start": "\ufeffname,label\r\n"}]
)
def test_lists_with_and_without_headers_and_marks(tree: Path, form: dict[str, str]) -> None:
    split_lists(tree / "annotations", {"test.csv": STEMS[18:]}, **form)
    (tree / "test.csv").unlink()
    assert ids(listing(tree))["test"] == STEMS[18:]


# Splits ---------------------------------------------------------------------------------------------------------------


def test_the_official_split_carves_validation_from_its_training_list(tree: Path) -> None:
    split_lists(tree, {"train.csv": STEMS[:18]})
    found = listing(tree, split="official")
    assert counts(found)["validation"] == dict.fromkeys(range(6), 1)
    assert sorted(ids(found)["train"] + ids(found)["validation"]) == sorted(STEMS[:18])
    assert ids(found)["test"] == STEMS[18:]
    assert found.notes == ("validation: 10% of each class of train.csv (seed 0)",)
    assert ids(listing(tree, split="official", split_seed=1)) != ids(found)


def test_speakers_are_held_out_whole_and_need_no_list(tmp_path: Path) -> None:
    stems = [f"{actor}_DFA_{emotion}_XX" for actor in range(1001, 1021) for emotion in CLASSES]
    for stem in stems:
        touch(tmp_path / "AudioWAV" / f"{stem}.wav", tmp_path / "VideoFlash" / f"{stem}.flv")
    found = listing(tmp_path, split="speakers")
    actors = {split: {id[:4] for id in names} for split, names in ids(found).items()}
    assert {split: len(names) for split, names in actors.items()} == {"train": 16, "validation": 2, "test": 2}
    assert len(actors["train"] | actors["validation"] | actors["test"]) == 20
    assert found.notes == ("split by speakers: 16 actors train, 2 validate, 2 test (seed 0)",)
    assert {item.group for item in found.splits["test"]} == actors["test"]


@needs_manifests
def test_the_real_lists_have_the_documented_sizes(tmp_path: Path) -> None:
    folder = manifests("crema_d")
    everything = [
        row.split(",")[0] for name in ("train.csv", "test.csv") for row in (folder / name).read_text().split()
    ]
    assert len(set(everything)) == 7442
    for stem in everything:
        (tmp_path / "Image-01-FPS" / stem).mkdir(parents=True)
        touch(tmp_path / "AudioWAV" / f"{stem}.wav", tmp_path / "Image-01-FPS" / stem / "00000.jpg")
    test = {0: 114, 1: 123, 2: 140, 3: 133, 4: 129, 5: 105}
    whole = {0: 973, 1: 1148, 2: 1131, 3: 1138, 4: 1142, 5: 1166}
    author = listing(tmp_path, lists=str(folder), exclude=[])
    assert counts(author) == {"train": {c: whole[c] - test[c] for c in whole}, "validation": test, "test": test}
    assert {split: len(names) for split, names in ids(author).items()} == {
        "train": 5954,
        "validation": 744,
        "test": 744,
    }
    assert len(listing(tmp_path, lists=str(folder)).splits["train"]) == 5950
    official = listing(tmp_path, lists=str(folder), split="official", exclude=[])
    assert counts(official)["test"] == test
    assert counts(official)["validation"] == {label: round(0.1 * count) for label, count in whole.items()}
    speakers = listing(tmp_path, split="speakers", exclude=[])
    sizes = {split: len(names) for split, names in ids(speakers).items()}
    assert sum(sizes.values()) == 7442
    assert all(0.098 <= sizes[split] / 7442 <= 0.12 for split in ("validation", "test"))


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1001_DFA_ANG_XX", r"val\.csv, line 2: 1 column, expected 2 \(stem, label\)"),
        ("1001_DFA_ANG_XX,ANGER", r"val\.csv, line 2: unknown label 'ANGER'; did you mean 'ANG'\?"),
        ("1001_DFA_ANG_XX,HAP", r"val\.csv, line 2: label HAP, but the name says ANG: 1001_DFA_ANG_XX"),
        ("1001_DFA_ANR_XX,ANG", r"val\.csv, line 2: unknown label 'ANR'; did you mean 'ANG'\?"),
        ("DFA_ANG,ANG", r"val\.csv, line 2: 'DFA_ANG' is not of the form 1001_DFA_ANG_XX"),
        ("1001_DFA_NEU_XX,NEU", r"val\.csv, line 2: 1001_DFA_NEU_XX stands also in .*my_train\.csv, line 1"),
    ],
)
def test_a_wrong_row_is_named(tree: Path, row: str, message: str) -> None:
    lines(tree / "val.csv", [f"{STEMS[12]},{CLASSES[0]}", row])
    with pytest.raises(DataError, match=message):
        listing(tree)


def test_lists_that_are_not_there_are_named_with_their_origin(tree: Path) -> None:
    (tree / "val.csv").unlink()
    with pytest.raises(
        DataError, match=r"no file val\.csv; looked in .*Diagnosing_Relearning_ECCV2024.*split: official"
    ):
        listing(tree)
    with pytest.raises(DataError, match=r"no file train\.csv; looked in .*OGM-GE_CVPR2022"):
        listing(tree, split="official")


def test_a_clone_without_git_lfs_is_named(tree: Path) -> None:
    touch(*(tree / "VideoFlash" / f"{stem}.flv" for stem in STEMS), content=STUB)
    with pytest.raises(DataError, match=r"VideoFlash: 24 of 24 files are Git LFS pointers.*run `git lfs pull`"):
        listing(tree)
    touch(tree / "test.csv", content=STUB)
    with pytest.raises(DataError, match=r"test\.csv: a Git LFS pointer.*git lfs pull"):
        CremaD._splits(CremaDOptions(root=str(tree)), tree, set())


def test_a_root_without_the_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="gone: no such folder; set `root` to the clone of CheyneyComputerScience/CREMA-D"
    ):
        listing(tmp_path / "gone")
    with pytest.raises(DataError, match=r"no sound; expected AudioWAV\. Set `root`"):
        listing(tmp_path)
    touch(tmp_path / "CREMA-D-master.zip.crdownload")
    with pytest.raises(DataError, match=r"no sound; expected AudioWAV\. CREMA-D-master\.zip\.crdownload is a download"):
        listing(tmp_path)


def test_encoders_and_the_recipe_are_those_of_the_papers() -> None:
    assert_declared(
        CremaD, {"root": "r"}, {"audio": "resnet18", "video": "resnet18"}, 100, optimizer="sgd", lr=0.01, batch_size=64
    )


def test_paths_have_names() -> None:
    assert_paths_have_names(CremaD)
