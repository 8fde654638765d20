from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from support.dataset_folders import counts, ids, lines, manifests, needs_manifests, touch
from support.declarations import assert_declared, assert_paths_have_names

from data.base import DataError
from data.prepared import Listing
from data.vggsound import VGGSound, VGGSoundOptions, read_classes

LABELS = sorted([f"sound {number:03d}" for number in range(308)] + ["bird chirping, tweeting"])
ROWS = [
    (f"{'-_aZ'[label % 4]}id{label}xx{clip:05d}", 10 * clip, LABELS[label], "train" if clip < 40 else "test")
    for label in range(3)
    for clip in range(44)
]


def write_lists(folder: Path, rows: list[tuple[Any, ...]] = ROWS, labels: list[str] = LABELS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("vggsound.csv", rows), ("stat.csv", [(label, 7, "music") for label in labels[::-1]])):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows(content)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_lists(tmp_path)
    for id, start, _, _ in ROWS:
        touch(tmp_path / "video" / f"{id}_{start:06d}.mp4")
    return tmp_path


def listing(root: Path, **options: Any) -> Listing:
    return VGGSound.listing(VGGSoundOptions(root=str(root), **options))


def test_quoted_labels_and_classes_in_the_sorted_order_of_their_names(tree: Path) -> None:
    assert '"bird chirping, tweeting",train' in (tree / "vggsound.csv").read_text()
    found = listing(tree)
    assert found.classes == tuple(LABELS)
    assert found.classes[0] == "bird chirping, tweeting"
    assert counts(found) == {
        "train": {0: 38, 1: 38, 2: 38},
        "validation": {0: 2, 1: 2, 2: 2},
        "test": {0: 4, 1: 4, 2: 4},
    }
    assert found.notes == ("validation: 5% of each class of the training clips, by video (seed 0)",)
    first = found.splits["test"][0]
    assert first.id == "-id0xx00040_000400"
    assert first.media["audio"] == first.media["video"] == tree / "video" / "-id0xx00040_000400.mp4"


def test_both_paddings_of_extracted_clips(tree: Path) -> None:
    for position, (id, start, _, part) in enumerate(ROWS):
        stem = f"{id}_{start}" if position % 2 else f"{id}_{start:06d}"
        touch(tree / f"{part}-audios" / f"{part}-set" / f"{stem}.wav")
        folder = tree / f"{part}-videos" / f"{part}-set-img" / "Image-01-FPS" / f"{stem}.mp4"
        touch(*(folder / f"{number:05d}.jpg" for number in range(3 if position == 1 else 4)))
    found = listing(tree)
    assert found.missing == (("-id0xx00001_000010", "3 frames of frames, fewer than 4"),)
    train = {item.id: item.media for item in found.splits["train"]}
    assert train["-id0xx00003_000030"]["audio"] == tree / "train-audios" / "train-set" / "-id0xx00003_30.wav"
    video = train["-id0xx00003_000030"]["video"]
    assert isinstance(video, tuple)
    assert [path.parent.name for path in video] == ["-id0xx00003_30.mp4"] * 4


def test_validation_keeps_the_clips_of_a_video_together(tree: Path) -> None:
    pairs = [(ROWS[i - i % 2][0], *row[1:]) for i, row in enumerate(ROWS)]
    write_lists(tree, pairs)
    for id, start, _, _ in pairs:
        touch(tree / "video" / f"{id}_{start}.mp4")
    found = listing(tree)
    groups = {split: {item.group for item in items} for split, items in found.splits.items()}
    assert not groups["train"] & groups["validation"]
    assert counts(found)["validation"] == {0: 2, 1: 2, 2: 2}
    assert ids(listing(tree, split_seed=1)) != ids(found)


def test_clips_that_are_gone_are_counted_up_to_the_allowed_share(tree: Path) -> None:
    gone = [f"{id}_{start:06d}" for id, start, _, part in ROWS if part == "test"][:2]
    for stem in gone:
        (tree / "video" / f"{stem}.mp4").unlink()
    with pytest.raises(
        DataError, match=r"test: 2 of 12 samples cannot be used, 16\.7% where `allowed_missing` is 15\.0%"
    ):
        listing(tree)
    found = listing(tree, allowed_missing=0.2)
    assert found.missing == tuple((stem, "no video") for stem in gone)


def test_classes_without_their_list(tree: Path) -> None:
    (tree / "stat.csv").unlink()
    with pytest.raises(DataError, match=r"vggsound\.csv: 3 classes, expected the 309 .*needs the official stat\.csv"):
        listing(tree)
    assert read_classes(None, set(LABELS), tree / "vggsound.csv") == tuple(LABELS)
    write_lists(tree, labels=LABELS[:-1])
    with pytest.raises(DataError, match=r"stat\.csv: 308 classes, expected the 309 of VGGSound$"):
        listing(tree)


@needs_manifests
def test_the_real_classes_and_the_head_of_the_real_test_list(tmp_path: Path) -> None:
    folder = manifests("vggsound")
    with (folder / "test_head.csv").open(newline="") as file:
        head = list(csv.reader(file))
    assert len(head) == 200
    rows = [(stem[:11], int(stem[12:18]), label, part) for stem, label in head for part in ("test",)]
    rows += [(f"train{i:06d}", 0, label, "train") for i, (_, label) in enumerate(head * 2)]
    write_lists(tmp_path, rows)
    (tmp_path / "stat.csv").write_bytes((folder / "stat.csv").read_bytes())
    for id, start, _, _ in rows:
        touch(tmp_path / "video" / f"{id}_{start:06d}.mp4")
    found = listing(tmp_path)
    assert len(found.classes) == 309
    assert list(found.classes) == sorted(found.classes)
    assert [found.classes[item.label] for item in found.splits["test"]] == [label for _, label in head]
    assert sum(int(row.rsplit(",", 2)[1]) for row in (folder / "stat.csv").read_text().splitlines()) == 199176


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("AbCdEfGhIjK,30,sound 001", r"vggsound\.csv, line 1: 3 columns, expected 4 \(YouTube id, start second, label"),
        ("AbCdEfGhIjK,30,bird chirping, tweeting,train", r"vggsound\.csv, line 1: 5 columns, expected 4"),
        ('AbCdEfGhIjK,30,"bird chirping,train', r"vggsound\.csv, line 1: not comma-separated"),
        ("AbCdEfGhIjK,30,sound 0001,train", r"vggsound\.csv, line 1: unknown label 'sound 0001'; did you mean 'sound"),
        ("AbCdEfGhIjK,30,sound 001,dev", r"vggsound\.csv, line 1: 'dev' is neither train nor test"),
        ("AbCdEfGhIjK,3x,sound 001,train", r"vggsound\.csv, line 1: start second '3x' is not a whole number"),
        ("AbCdEfGhIj,3,sound 001,train", r"vggsound\.csv, line 1: 'AbCdEfGhIj_3' is not of the form"),
        ("-id0xx00000,0,sound 001,train", r"vggsound\.csv, line 2: -id0xx00000_000000 stands also in .*line 1"),
    ],
)
def test_a_wrong_row_is_named(tree: Path, row: str, message: str) -> None:
    old = (tree / "vggsound.csv").read_text().split("\r\n")
    lines(tree / "vggsound.csv", [row, *old])
    with pytest.raises(DataError, match=message):
        listing(tree)


def test_a_root_without_clips_is_explained(tmp_path: Path) -> None:
    write_lists(tmp_path)
    with pytest.raises(DataError, match=r"no clips; expected videos in video or .*AudioWAV.* Set `root`"):
        listing(tmp_path)
    touch(tmp_path / "vggsound_00.tar.gz")
    with pytest.raises(DataError, match=r"no clips; .*vggsound_00\.tar\.gz lies there: unpack it here"):
        listing(tmp_path)
    with pytest.raises(DataError, match=r"no file vggsound\.csv; looked in .*hche11/VGGSound"):
        listing(tmp_path / "..", lists=str(tmp_path.parent))


def test_the_profiles_are_those_of_the_papers() -> None:
    def forms(profile: str) -> dict[str, Any]:
        return VGGSound.forms(VGGSoundOptions.model_validate({"root": "x", "profile": profile}))

    shapes = {profile: {m: form.sample().shape for m, form in forms(profile).items()} for profile in ("16k", "bss")}
    assert shapes == {
        "16k": {"audio": (1, 129, 626), "video": (3, 3, 224, 224)},
        "bss": {"audio": (1, 257, 2006), "video": (3, 1, 384, 384)},
    }
    kept = [(form.most, form.least, form.stored_size) for form in (forms("16k")["video"], forms("bss")["video"])]
    assert kept == [(5, 4, 256), (4, 4, 384)]
    assert (forms("16k")["audio"].crop, forms("bss")["audio"].crop) == ("random", "start")


def test_encoders_and_the_recipe_are_those_of_the_papers() -> None:
    assert_declared(
        VGGSound,
        {"root": "r"},
        {"audio": "resnet18", "video": "resnet18"},
        100,
        optimizer="sgd",
        lr=0.001,
        batch_size=64,
    )


def test_paths_have_names() -> None:
    assert_paths_have_names(VGGSound)
