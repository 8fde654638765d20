"""Every real dataset end to end: real media in the tree of its owner, through the cache, into its default encoders."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.dataset_folders import lines
from support.media_files import noise, shaded, tone, write_picture, write_sound, write_tokenizer, write_video

import data
from data.base import DataError, Dataset
from data.kinetics_sounds import KineticsSounds
from data.nvgesture import PROFILES as GESTURES
from data.prepared.forms import Flow
from data.prepared.lists.items import SPLITS
from data.vggsound import COUNT
from models.encoders import build, refusal, resolve

SMALL: dict[str, dict[str, int]] = {
    "bert": {"depth": 1},
    "cav_mae": {"depth": 1},
    "i3d": {"width": 8},
    "m3ae_image": {"depth": 1},
    "m3ae_text": {"depth": 1},
}
"""Options that make a default encoder cheap, and change nothing about the samples that it takes."""
Sizes = tuple[int, int, int]
Shapes = dict[str, tuple[int, ...]]


def words(root: Path) -> str:
    return str(write_tokenizer(root / "tokenizer", ["hello", "again", "t", "$", "oslo"]))


def crema_d(root: Path) -> dict[str, Any]:
    for number, stem in enumerate(("1001_DFA_ANG_XX", "1002_DFA_HAP_XX", "1003_DFA_SAD_XX", "1064_TIE_SAD_XX")):
        write_sound(root / "AudioWAV" / f"{stem}.wav", tone(16000, 0.5, 200 + 100 * number), 16000)
        write_video(root / "VideoFlash" / f"{stem}.flv", shaded(12))
        name = ("my_train.csv", "val.csv", "test.csv", "my_train.csv")[number]
        with (root / name).open("a", newline="") as file:
            csv.writer(file).writerow([stem, stem.split("_")[2]])
    return {}


def write_clip(path: Path, pitch: float) -> None:
    write_video(path, shaded(9), rate=2, sound=tone(22050, 4, pitch))


def kinetics_sounds(root: Path) -> dict[str, Any]:
    for part, id, start, label in (
        ("train", "-_ain_-34_6", 3, 30),
        ("val", "__al_6789_1", 12, 0),
        ("test", "te-t5678901", 0, 7),
    ):
        lines(root / f"my_{part}.txt", [f"{id}_{start},10,{label}"], "\r\n")
        write_clip(root / "k400" / part / f"{id}_{start:06d}_{start + 10:06d}.mp4", 300 + label)
    return {}


def vggsound(root: Path) -> dict[str, Any]:
    labels = ["bird chirping, tweeting", *(f"sound {number:03d}" for number in range(COUNT - 1))]
    rows = [(f"a_-{number}5678901"[:11], number, labels[0], "train") for number in (1, 2)]
    rows.append(("t_-35678901", 30, labels[1], "test"))
    for name, content in (("stat.csv", [(label, 1, "music") for label in labels]), ("vggsound.csv", rows)):
        with (root / name).open("w", newline="") as file:
            csv.writer(file).writerows(content)
    for id, start, _, _ in rows:
        write_clip(root / "video" / f"{id}_{start:06d}.mp4", 440)
    return {}


def twitter2015(root: Path) -> dict[str, Any]:
    for number, part in enumerate(("train", "dev", "test")):
        lines(root / "twitter2015" / f"{part}.tsv", ["index\tx", f"1\t{number}\t{number}.jpg\thello $T$ again\tOslo"])
        write_picture(root / "twitter2015_images" / f"{number}.jpg", noise(40, 30, number))
    (root / "twitter2015_images" / "2.jpg").write_bytes(b"not a picture")
    return {"tokenizer": words(root)}


def sarcasm(root: Path) -> dict[str, Any]:
    for number, (part, ending) in enumerate((("train", "0"), ("valid2", "0, 1"), ("test2", "1, 0"))):
        lines(root / "text" / f"{part}.txt", [f"['{number}', 'hello again', {ending}]"])
        write_picture(root / "dataset_image" / f"{number}.jpg", noise(30, 40, number))
    return {"tokenizer": words(root)}


def nvgesture(root: Path) -> dict[str, Any]:
    for part, subjects in (("train", (1, 2)), ("test", (5,))):
        rows = []
        for subject in subjects:
            folder = f"Video_data/class_07/subject{subject}_r0"
            rows.append(f"label:7 depth:sk_depth:1:81 path:./{folder} color:sk_color:2:82 ")
            for name in ("sk_color", "sk_depth"):
                write_video(root / folder / f"{name}.avi", shaded(83, step=1))
        lines(root / f"nvgesture_{part}_correct_cvpr2016_v2.lst", rows)
    return {}


def iemocap(root: Path) -> dict[str, Any]:
    spoken = {
        f"Ses0{session}F_impro01_F00{session}": word for session, word in ((1, "Angry"), (2, "Angry"), (3, "Sad"))
    }
    rows = [f"{id}.mp4 [split|sign] hello again [split|sign] {word}" for id, word in spoken.items()]
    lines(root / "my_train_iemo.txt", rows[:2])
    lines(root / "my_test_iemo.txt", rows[2:])
    for number, id in enumerate(spoken):
        write_sound(root / "subaudio" / f"{id}.wav", tone(16000, 0.5), 16000)
        for frame in range(3):
            write_picture(root / "faces" / id / f"{frame}.jpg", noise(40, 40, 3 * number + frame))
    return {"tokenizer": words(root)}


SETS: list[tuple[Callable[[Path], dict[str, Any]], Sizes, Shapes]] = [
    (crema_d, (1, 1, 1), {"audio": (1, 257, 188), "video": (3, 1, 224, 224)}),
    (kinetics_sounds, (1, 1, 1), {"audio": (1, 257, 1003), "video": (3, 3, 224, 224)}),
    (vggsound, (1, 1, 1), {"audio": (1, 129, 626), "video": (3, 3, 224, 224)}),
    (twitter2015, (1, 1, 1), {"text": (2, 50), "image": (3, 224, 224)}),
    (sarcasm, (1, 1, 1), {"text": (2, 50), "image": (3, 224, 224)}),
    (nvgesture, (1, 1, 1), {"rgb": (3, 64, 224, 224), "flow": (2, 80, 224, 224), "depth": (1, 64, 224, 224)}),
    (iemocap, (1, 1, 1), {"audio": (1, 1024, 128), "video": (3, 256, 256), "text": (2, 256)}),
]


@pytest.mark.parametrize(("write", "sizes", "shapes"), SETS, ids=[write.__name__ for write, _, _ in SETS])
def test_a_dataset_from_its_source_to_its_encoders(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], dict[str, Any]],
    sizes: Sizes,
    shapes: Shapes,
) -> None:
    monkeypatch.setitem(GESTURES["i3d"], "flow", Flow(levels=1, window=5, iterations=1))  # the cheapest
    source = data.get(write.__name__)
    options = source.Options(root=str(tmp_path), **write(tmp_path))  # type: ignore[call-arg]
    dataset = source.load(options)
    assert dataset.modalities == source.modalities(options) == tuple(shapes)
    assert dataset.shapes() == shapes
    described = source.describe(options)
    assert {modality: sample.shape for modality, sample in source.samples(options).items()} == shapes
    assert described.samples == source.samples(options)
    assert {split: len(labels) for split, labels in described.labels.items()} == dict(zip(SPLITS, sizes, strict=True))
    for modality, spec in source.encoders(options).items():
        assert refusal(spec, shapes[modality], described.samples[modality].tokens) is None
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == sizes
    assert any(note.startswith("profile ") for note in dataset.notes)
    first, again = dataset.train.gather(torch.tensor([0])), source.load(options).train.gather(torch.tensor([0]))
    specs = source.encoders(options)
    torch.manual_seed(0)
    for modality, spec in specs.items():
        values = first.inputs[modality]
        assert torch.equal(values, again.inputs[modality])
        assert values.float().isfinite().all()
        name = str(resolve(spec)["name"])
        encoder = build({"name": name, **SMALL.get(name, {})}, shapes[modality]).eval()
        with torch.no_grad():
            # I3D takes clips of any size, and whole ones take their time.
            assert encoder(values[..., :16, :64, :64] if name == "i3d" else values).isfinite().all()


def loaded(name: str, root: Path, options: dict[str, Any]) -> Dataset:
    source = data.get(name)
    return source.load(source.Options(root=str(root), **options))  # type: ignore[call-arg]


def test_sound_and_pictures_are_those_of_the_clip(tmp_path: Path) -> None:
    dataset = loaded("crema_d", tmp_path, crema_d(tmp_path))
    batch = dataset.validation.gather(torch.tensor([0]))
    assert dataset.classes[int(batch.labels[0])] == "HAP"
    loudest = batch.inputs["audio"][0, 0].mean(1).argmax().item()
    assert loudest == pytest.approx(300 * 512 / 22050, abs=1)
    shade = batch.inputs["video"][0, 0].mean().item() * 0.229 + 0.485
    assert 255 * shade == pytest.approx(16, abs=6)
    assert "left out by `exclude`: 1064_TIE_SAD_XX" in dataset.notes


def test_the_default_profiles_have_the_published_shapes_of_the_others(tmp_path: Path) -> None:
    shapes = {
        ("crema_d", "20s"): {"audio": (1, 257, 1250), "video": (3, 1, 224, 224)},
        ("crema_d", "iprm"): {"audio": (1, 257, 1250), "video": (3, 2, 224, 224)},
        ("kinetics_sounds", "fbank"): {"audio": (1, 1024, 128), "video": (3, 3, 224, 224)},
        ("vggsound", "bss"): {"audio": (1, 257, 2006), "video": (3, 1, 384, 384)},
        ("twitter2015", "bss"): {"text": (2, 128), "image": (3, 384, 384)},
        ("twitter2015", "amss"): {"text": (2, 128), "image": (3, 224, 224)},
        ("sarcasm", "clip"): {"text": (2, 77), "image": (3, 224, 224)},
        ("iemocap", "light"): {"audio": (1, 1024, 128), "video": (3, 1, 224, 224), "text": (2, 64)},
    }
    for (name, profile), expected in shapes.items():
        source = data.get(name)
        forms = source.forms(source.Options(root="x", profile=profile))  # type: ignore[attr-defined, call-arg]
        found = {}
        for modality, form in forms.items():
            empty = {
                array: torch.from_numpy(np.zeros((1, *stored.shape), stored.dtype))
                for array, stored in form.stored("test").items()
            }
            found[modality] = form.column(empty, torch.zeros(1, dtype=torch.int64), "test").shape
        assert found == expected, (name, profile)


def test_an_unreadable_picture_is_grey_and_an_unreadable_clip_is_refused(tmp_path: Path) -> None:
    dataset = loaded("twitter2015", tmp_path / "tweets", twitter2015(tmp_path / "tweets"))
    image = dataset.test.gather(torch.tensor([0])).inputs["image"]
    assert all(channel.unique().numel() == 1 for channel in image[0])
    assert any("samples of image are grey, unreadable" in note for note in dataset.notes)
    (tmp_path / "ks").mkdir()
    kinetics_sounds(tmp_path / "ks")
    clip = next((tmp_path / "ks" / "k400" / "test").iterdir())
    clip.write_bytes(clip.read_bytes()[:300])
    with pytest.raises(DataError, match=r"te-t5678901_000000 .*\.mp4"):
        loaded("kinetics_sounds", tmp_path / "ks", {})
    assert KineticsSounds.Options(root="x").allowed_missing == 0.15


def test_pairs_of_tweet_and_target_are_told_apart(tmp_path: Path) -> None:
    options = twitter2015(tmp_path)
    alone = loaded("twitter2015", tmp_path, options).train.gather(torch.tensor([0])).inputs["text"][0]
    both = loaded("twitter2015", tmp_path, {**options, "text_mode": "tweet+target"})
    ids, mask = both.train.gather(torch.tensor([0])).inputs["text"][0]
    assert alone[0].tolist()[:7] == [2, 5, 8, 7, 8, 6, 3]
    assert ids.tolist()[:9] == [2, 5, 8, 7, 8, 6, 3, 9, 3]
    assert mask.sum() == 9
