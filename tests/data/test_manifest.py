from __future__ import annotations

import os
import shutil
import tempfile
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.base import DataError
from data.manifest import Manifest, ManifestOptions
from data.prepared.forms import Image as ImageForm

AUDIO = {"kind": "audio", "rate": 8000, "seconds": 0.1, "n_fft": 64, "hop": 80}
PHOTO = {"kind": "image", "column": "picture", "size": 16, "crop_scale": None, "flip": False, "normalise": None}
N = 20


def write(root: Path, **columns: list[str] | None) -> Path:
    """Twenty sounds, loud where the label is 1, and pictures of one brightness each."""
    root.mkdir()
    for k in range(N):
        time = np.arange(800) / 8000
        with wave.open(str(root / f"{k}.wav"), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(
                (np.sin(2 * np.pi * 1000 * time) * (1000 if k % 2 == 0 else 20000) + k).astype("<i2").tobytes()
            )
        Image.new("RGB", (24, 20), (10 * k, 0, 0)).save(root / f"{k}.png")
    table: dict[str, Any] = {
        "sound": [f"{k}.wav" for k in range(N)],
        "picture": [f"{k}.png" for k in range(N)],
        "label": [["soft", "loud"][k % 2] for k in range(N)],
        "split": ["train"] * 12 + ["validation"] * 4 + ["test"] * 4,
        **columns,
    }
    table = {name: values for name, values in table.items() if values is not None}
    lines = [",".join(table), *(",".join(row) for row in zip(*table.values(), strict=True))]
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root / "list.csv"


def options(file: Path, **others: Any) -> ManifestOptions:
    chosen = {"modalities": {"sound": AUDIO, "photo": PHOTO}, **others}
    return ManifestOptions.model_validate({"root": str(file), **chosen})


def test_a_csv_of_sounds_and_pictures_is_a_dataset(tmp_path: Path) -> None:
    dataset = Manifest.load(options(write(tmp_path / "set")))
    assert dataset.modalities == ("sound", "photo")
    assert dataset.classes == ("loud", "soft")
    assert dataset.shapes() == {"sound": (1, 33, 11), "photo": (3, 16, 16)}
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [12, 4, 4]
    batch = dataset.test.gather(torch.tensor([1, 2]))
    assert batch.labels.tolist() == [0, 1]
    loud, soft = batch.inputs["sound"].amax((1, 2, 3))
    assert loud - soft == pytest.approx(np.log(20), abs=0.05)
    np.testing.assert_allclose(batch.inputs["photo"][:, 0, 3, 3], [170 / 255, 180 / 255], atol=1e-6)


def test_without_a_split_whole_groups_are_held_out(tmp_path: Path) -> None:
    file = write(tmp_path / "set", split=None, speaker=[f"s{k // 2}" for k in range(N)])
    listing = Manifest.listing(options(file, group="speaker", test_share=0.2, validation_share=0.2))
    groups = [{item.group for item in listing.splits[s]} for s in ("train", "validation", "test")]
    assert [len(g) for g in groups] == [6, 2, 2]
    assert len(set().union(*groups)) == 10
    assert "held out of training by class and whole group" in listing.notes[0]


def test_the_cache_is_that_of_the_files_wherever_they_lie(tmp_path: Path) -> None:
    file = write(tmp_path / "set")
    print_ = Manifest.fingerprint(options(file))
    moved = shutil.copytree(tmp_path / "set", tmp_path / "moved") / "list.csv"
    assert Manifest.fingerprint(options(moved)) == print_
    shorter = {"sound": {**AUDIO, "seconds": 0.05}, "photo": PHOTO}
    assert Manifest.fingerprint(options(file, modalities=shorter)) != print_
    moved.write_text(moved.read_text().replace("0.png,soft", "0.png,loud"))
    assert Manifest.fingerprint(options(moved)) != print_


def test_texts_stand_in_the_file_and_videos_may_be_folders(tmp_path: Path) -> None:
    file = write(tmp_path / "set", words=[f"word {k}" for k in range(N)], clip=["frames"] * N)
    frames = tmp_path / "set/frames"
    frames.mkdir()
    for k in (2, 10, 1):
        Image.new("RGB", (20, 20), (k, 0, 0)).save(frames / f"{k:03d}.jpg")
        (frames / f"._{k:03d}.jpg").write_bytes(b"what a Mac leaves behind")
    kinds = {"words": {"kind": "text", "tokenizer": "nowhere", "length": 8}, "clip": {"kind": "video", "size": 16}}
    found = options(file, modalities=kinds)
    item = Manifest.listing(found).splits["train"][3]
    assert item.id == "line 5"
    assert item.media["words"] == "word 3"
    assert item.media["clip"] == tuple(frames / f"{k:03d}.jpg" for k in (1, 2, 10))
    assert Manifest.encoders(found) == {"words": "bert", "clip": "resnet18"}


def test_texts_need_no_file_and_no_network(tmp_path: Path) -> None:
    file = write(tmp_path / "set", words=["a fine day", "one. two"] * (N // 2))
    found = options(file, modalities={"sound": AUDIO, "words": {"kind": "text", "length": 6}})
    dataset = Manifest.load(found)
    assert dataset.shapes()["words"] == (2, 6)
    tokens = dataset.train.gather(torch.tensor([0, 1, 2])).inputs["words"]
    assert tokens[:, 1].tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0]]
    assert torch.equal(tokens[0], tokens[2])
    encoder = Manifest.encoders(found)["words"]
    assert (encoder["name"], encoder["vocabulary"], encoder["positions"]) == ("bert", 16384, 6)
    assert int(tokens.max()) < encoder["vocabulary"]


def test_a_file_in_two_splits_is_refused_unless_allowed(tmp_path: Path) -> None:
    file = write(tmp_path / "set")
    shutil.copy(tmp_path / "set/0.png", tmp_path / "set/1.png")
    shutil.copy(tmp_path / "set/0.wav", tmp_path / "set/19.wav")
    message = (
        r"manifest: sound: samples in two splits: 1 \(line 2 of train and line 21 of test\); .*set allow_repeats: true"
    )
    for act in (Manifest.fingerprint, Manifest.load):
        with pytest.raises(DataError, match=message):
            act(options(file))  # type: ignore[operator]
    notes = Manifest.load(options(file, allow_repeats=True)).notes
    assert "sound: samples in two splits: 1, as allow_repeats says" in notes
    assert "photo: samples that stand more than once within their split: 1" in notes


def test_equal_texts_are_told_as_whole_samples_alone(tmp_path: Path) -> None:
    file = write(tmp_path / "set", words=["yes", "no"] * (N // 2), more=[f"word {k % 19}" for k in range(N)])
    kinds = {"words": {"kind": "text"}, "more": {"kind": "text"}}
    assert Manifest.fingerprint(options(file, modalities=kinds))
    file.write_text(file.read_text().replace("19.png,loud,test,no", "19.png,soft,test,yes"))
    with pytest.raises(DataError, match=r"manifest: words and more: samples in two splits: 1 \(line 2 of train and"):
        Manifest.fingerprint(options(file, modalities=kinds))


def test_loud_sounds_are_told(tmp_path: Path) -> None:
    from scipy.io import wavfile

    file = write(tmp_path / "set")
    wavfile.write(tmp_path / "set/3.wav", 8000, np.sin(np.arange(800) / 5).astype(np.float32) * 20000)
    note = "train: 1 of 12 samples of sound have floating-point samples beyond full scale, which were clipped or scaled"
    assert note in Manifest.load(options(file)).notes


def test_missing_and_corrupt_files_share_one_allowance(tmp_path: Path) -> None:
    file = write(tmp_path / "set")
    (tmp_path / "set/3.wav").unlink()
    (tmp_path / "set/5.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1 of 20 samples .*: line 5 \(.*list.csv, line 5: sound: no file .*3.wav\)"):
        Manifest.fingerprint(options(file))
    with pytest.raises(DataError, match=r"2 of 20 samples .*line 5 .*; line 7 \(.*5.png"):
        Manifest.load(options(file, allowed_missing=0.05))
    dataset = Manifest.load(options(file, allowed_missing=0.1))
    assert len(dataset.train) == 10
    assert "2 of 20 samples left out" in dataset.notes[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_folders_that_nobody_may_enter_are_missing_files() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:  # TMPDIR may be a folder of this user alone
        os.chmod(shared, 0o755)
        file = write(Path(shared, "set"))
        # What is imported on the way may lie where the other user cannot read.
        Manifest.fingerprint(options(file))
        (Path(shared, "set/locked")).mkdir(0o700)
        file.write_text(file.read_text().replace("3.wav", "locked/3.wav"))
        os.seteuid(65534)
        try:
            with pytest.raises(DataError, match=r"2 of 20 samples .*: line 5 \(.*Permission denied.*locked/3.wav"):
                Manifest.fingerprint(options(file))
        finally:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sound,picture", "sound,image", r"list.csv, line 1: no column called 'picture'; there are: sound, image"),
        ("3.wav,3.png,loud", "3.wav,3.png", r"line 5: 3 fields, the header has 4"),
        ("3.wav,3.png", ",3.png", r"line 5: sound is empty; name a file"),
        ("loud,test", "loud,tset", r"line 19: split is 'tset'; it must be train, validation or test"),
        ("sound,picture", "sound,sound", r"line 1: each column needs a name of its own"),
        ("3.wav,", '"3.wav,', r"not comma-separated"),
    ],
)
def test_rows_that_make_no_sense_are_refused_by_their_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = write(tmp_path / "set")
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        Manifest.listing(options(file))


@pytest.mark.parametrize(("sign", "said"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_list_with_other_signs_between_fields_is_told_so(tmp_path: Path, sign: str, said: str) -> None:
    file = write(tmp_path / "set")
    file.write_text(file.read_text().replace(",", sign))
    with pytest.raises(DataError, match=f"line 1: fields are separated by {said}; separate them by commas"):
        Manifest.listing(options(file))


def test_a_picture_that_breaks_off_is_unusable(tmp_path: Path) -> None:
    """As a sound is; the loaders of the papers read such pictures of their datasets."""
    (form,) = Manifest.forms(options(tmp_path / "list.csv", modalities={"photo": PHOTO})).values()
    assert isinstance(form, ImageForm)
    assert not form.allow_truncated


def test_labels_and_ids_are_checked(tmp_path: Path) -> None:
    file = write(tmp_path / "set", name=["a", *(f"n{k}" for k in range(N - 2)), "a"])
    with pytest.raises(DataError, match=r"line 2: label: unknown label 'soft'; did you mean 'sofd'\?"):
        Manifest.listing(options(file, classes=["sofd", "loud"]))
    with pytest.raises(DataError, match="the sample a stands twice"):
        Manifest.fingerprint(options(file, id="name"))
    file.write_text("sound,picture,label\n")
    with pytest.raises(DataError, match="no rows below the header"):
        Manifest.listing(options(file))


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        ({"a b": AUDIO}, "cannot name a modality"),
        ({"sound": {"kind": "sound"}}, "kind"),
        ({"sound": {**AUDIO, "size": 3}}, "size"),
        ({"sound": {**AUDIO, "n_fft": 65}}, "multiple of 2"),
        ({}, "at least 1"),
    ],
)
def test_columns_that_make_no_sense_are_refused(modalities: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ManifestOptions.model_validate({"root": "x.csv", "modalities": modalities})
