from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from data import av_digits
from data.av_digits import (
    SPLITS,
    AVDigits,
    AVDigitsOptions,
    add_noise,
    keep_components,
    log_mel,
    pair,
    read_waves,
    split_images,
    split_recordings,
)
from data.base import AbsentDataError, DataError, Dataset
from data.readers.fsdd import find_recordings
from sweep.training.recipe import Recipe


def load(root: Path, **options: Any) -> Dataset:
    return AVDigits.load(AVDigitsOptions(root=str(root), **{"train_samples": 40, **options}))


# Splits and pairs -----------------------------------------------------------------------------------------------------


def test_recordings_split_by_index(fsdd_root: Path) -> None:
    recordings = find_recordings(str(fsdd_root))
    parts = split_recordings(recordings, [])
    indices = {name: {recordings[i].index for i in part} for name, part in parts.items()}
    assert indices == {"train": {10, 11}, "validation": {5, 6, 7, 8, 9}, "test": {0, 1, 2, 3, 4}}
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(recordings)))
    assert {recordings[i].speaker for i in parts["test"]} == {"ann", "bob"}


def test_recordings_split_by_speaker(fsdd_root: Path) -> None:
    recordings = find_recordings(str(fsdd_root))
    parts = split_recordings(recordings, ["bob"])
    assert {recordings[i].speaker for i in parts["test"]} == {"bob"}
    assert len(parts["test"]) == 120
    for name, expected in (("train", {0, 1, 2, 3, 4, 10, 11}), ("validation", {5, 6, 7, 8, 9})):
        assert {recordings[i].speaker for i in parts[name]} == {"ann"}
        assert {recordings[i].index for i in parts[name]} == expected


def test_wrong_speakers_are_refused(fsdd_root: Path) -> None:
    recordings = find_recordings(str(fsdd_root))
    with pytest.raises(DataError, match=r"no recordings of 'bobb'; did you mean 'bob'\? There are: ann, bob"):
        split_recordings(recordings, ["bobb"])
    with pytest.raises(DataError, match=r"every speaker \(ann, bob\) is held out"):
        split_recordings(recordings, ["ann", "bob"])


def test_images_split_by_digit_or_by_mnist_s_own_test_part() -> None:
    labels = np.arange(200) % 10
    parts = split_images(labels, np.ones(200, bool), 0)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(200))
    sizes = {name: np.bincount(labels[part]).tolist() for name, part in parts.items()}
    assert sizes == {"train": [14] * 10, "validation": [2] * 10, "test": [4] * 10}
    both = split_images(labels, np.arange(200) >= 100, 0)
    assert both["test"].tolist() == list(range(100, 200))
    assert {name: len(part) for name, part in both.items()} == {"train": 90, "validation": 10, "test": 100}
    assert sorted(np.concatenate([both["train"], both["validation"]]).tolist()) == list(range(100))


def groups(each: int, start: int = 0) -> list[np.ndarray]:
    return [np.arange(start + each * digit, start + each * (digit + 1)) for digit in range(10)]


def test_pairs_reuse_the_rarer_modality_in_turn() -> None:
    pairs = pair("train", groups(2), groups(5), 50, 0)
    assert pairs.labels.tolist() == list(range(10)) * 5
    assert (pairs.recordings // 2).tolist() == pairs.labels.tolist()
    assert (pairs.images // 5).tolist() == pairs.labels.tolist()
    assert sorted(pairs.images.tolist()) == list(range(50))
    assert set(np.bincount(pairs.recordings).tolist()) == {2, 3}
    threes = pairs.recordings[pairs.labels == 3].tolist()
    assert threes[:2] == threes[2:4]
    assert sorted(threes[:2]) == [6, 7]


def test_fewer_pairs_are_the_first_of_more() -> None:
    few, many = (pair("train", groups(30), groups(30), samples, 0) for samples in (95, 200))
    for digit in range(10):
        kept = many.images[many.labels == digit][: sum(few.labels == digit)]
        assert few.images[few.labels == digit].tolist() == kept.tolist()


def test_without_a_number_every_recording_is_paired_once() -> None:
    recordings = groups(3)
    recordings[4] = recordings[4][:1]
    pairs = pair("test", recordings, groups(2), None, 0)
    assert sorted(pairs.recordings.tolist()) == sorted(np.concatenate(recordings).tolist())
    assert np.bincount(pairs.labels).tolist() == [3, 3, 3, 3, 1, 3, 3, 3, 3, 3]


def test_pairs_depend_on_seed_and_split() -> None:
    arguments: list[Any] = [("train", 0), ("train", 1), ("validation", 0)]
    orders = {tuple(pair(name, groups(20), groups(20), 200, seed).images.tolist()) for name, seed in arguments}
    assert len(orders) == 3
    first = pair("train", groups(20), groups(20), 200, 0)
    assert tuple(first.images.tolist()) in orders


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(DataError, match=r"train_samples: 51 are more than can be paired.*at most 50"):
        pair("train", groups(2), groups(5), 51, 0)
    lacking = groups(2)
    lacking[7] = lacking[7][:0]
    with pytest.raises(DataError, match="validation: no recording of the digit 7"):
        pair("validation", lacking, groups(5), None, 0)
    with pytest.raises(DataError, match="test: no image of the digit 7"):
        pair("test", groups(5), lacking, None, 0)


# Signals --------------------------------------------------------------------------------------------------------------


def test_log_mel_of_silence_and_of_tones() -> None:
    time = torch.arange(8000) / 8000
    waves = torch.stack(
        [torch.zeros(8000), torch.sin(2 * torch.pi * 400 * time), torch.sin(2 * torch.pi * 2000 * time)]
    )
    found = log_mel(waves)
    assert found.shape == (3, 1, 64, 64)
    assert found.dtype == torch.float32
    assert torch.all(found[0] == np.log(np.float32(1e-4)))
    # The mel scale puts f at 2595 log10(1 + f / 700); the 64 bands share the way up to 4000 Hz evenly.
    for row, frequency in ((1, 400), (2, 2000)):
        mel = np.log10(1 + frequency / 700) / np.log10(1 + 4000 / 700)
        assert abs(found[row, 0, :, 32].argmax().item() - (mel * 65 - 1)) <= 1


def test_log_mel_does_not_depend_on_the_batch() -> None:
    waves = torch.randn(300, 8000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_mel(waves)[260:261], log_mel(waves[260:261]))


def test_waves_are_padded_or_cut_to_one_second(tmp_path: Path, fsdd: Any, wav: Any) -> None:
    folder = fsdd(tmp_path, ["ann"], [0]) / "recordings"
    wav(folder / "0_ann_0.wav", [16384] * 3)
    wav(folder / "1_ann_0.wav", np.arange(9000))
    waves, cut = read_waves(find_recordings(str(tmp_path)))
    assert waves.shape == (10, 8000)
    assert cut == 1
    assert waves[0].tolist() == [0.5] * 3 + [0.0] * 7997
    assert torch.equal(waves[1] * 2**15, torch.arange(8000.0))


def test_components_are_those_of_the_training_images() -> None:
    # Training images vary along (1, 1, 0, 0) most, along (0, 0, 1, -1) less, around (5, 5, 5, 5).
    shift = torch.tensor([[2.0, 2, 0, 0], [-2, -2, 0, 0], [0, 0, 1, -1], [0, 0, -1, 1]])
    training = (5 + shift).view(4, 1, 2, 2)
    images = torch.tensor([[8.0, 6, 9, 5], [5, 5, 5, 5]]).view(2, 1, 2, 2)
    one = keep_components(images, training, 0.25)
    torch.testing.assert_close(one.flatten(1), torch.tensor([[7.0, 7, 5, 5], [5, 5, 5, 5]]))
    two = keep_components(images, training, 0.5)
    torch.testing.assert_close(two.flatten(1), torch.tensor([[7.0, 7, 7, 3], [5, 5, 5, 5]]))
    torch.testing.assert_close(keep_components(training, training, 0.75), training)


def test_noise_is_white_fixed_and_the_same_in_longer_splits() -> None:
    labels = np.arange(40) % 10
    values = torch.full((40, 1, 28, 28), 3.0)
    noisy = add_noise(values, labels, 0.5, 0, "a")
    noise = (noisy - values).double()
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(0.5, abs=0.01)
    assert len(torch.unique(noise.flatten(1)[:, 0])) == 40
    assert torch.equal(noisy, add_noise(values, labels, 0.5, 0, "a"))
    assert torch.equal(noisy[:20], add_noise(values[:20], labels[:20], 0.5, 0, "a"))
    assert not torch.equal(noisy, add_noise(values, labels, 0.5, 1, "a"))
    assert not torch.equal(noisy, add_noise(values, labels, 0.5, 0, "b"))
    assert add_noise(values, labels, 0, 0, "a") is values


# The dataset ----------------------------------------------------------------------------------------------------------


def test_the_dataset_with_mnist(fsdd_root: Path, mnist_root: Path) -> None:
    dataset = load(fsdd_root, mnist_root=str(mnist_root))
    assert dataset.modalities == ("audio", "image") == AVDigits.modalities(AVDigitsOptions(root="x"))
    assert dataset.shapes() == {"audio": (1, 64, 64), "image": (1, 28, 28)}
    samples = AVDigits.describe(AVDigitsOptions(root=str(fsdd_root), mnist_root=str(mnist_root))).samples
    assert {modality: sample.shape for modality, sample in samples.items()} == dataset.shapes()
    assert dataset.classes == tuple("0123456789")
    assert [len(getattr(dataset, name)) for name in SPLITS] == [40, 100, 100]
    assert dataset.augment is None
    for name in SPLITS:
        part = getattr(dataset, name)
        assert {x.dtype for x in part.inputs.values()} == {torch.float32}
        assert torch.bincount(part.labels).tolist() == [len(part) // 10] * 10
    for values in dataset.train.inputs.values():
        assert values.mean().item() == pytest.approx(0, abs=1e-4)
        assert values.std().item() == pytest.approx(1, abs=1e-4)
    assert dataset.notes == (
        "validation: 100 samples share 10 images",
        "test: 100 samples share 20 images",
    )


def test_audio_image_and_label_of_a_sample_agree(fsdd_root: Path, mnist_root: Path) -> None:
    dataset = load(fsdd_root, mnist_root=str(mnist_root))
    for part in (dataset.train, dataset.validation, dataset.test):
        # Digits are tones of rising pitch, and images of rising shade.
        pitch = part.inputs["audio"][:, 0, :, 2].argmax(1)
        shade = part.inputs["image"].flatten(1).median(1).values
        for values in (pitch, shade):
            highest = [values[part.labels == d].max() for d in range(10)]
            lowest = [values[part.labels == d].min() for d in range(10)]
            assert all(highest[d] < lowest[d + 1] for d in range(9))


def test_no_recording_and_no_image_is_in_two_splits(fsdd_root: Path, mnist_root: Path) -> None:
    dataset = load(fsdd_root, mnist_root=str(mnist_root))
    for modality in dataset.modalities:
        seen = [{bytes(x.numpy().tobytes()) for x in getattr(dataset, n).inputs[modality]} for n in SPLITS]
        assert len(set.union(*seen)) == sum(map(len, seen))


def test_the_dataset_with_scikit_learn_s_images(fsdd_root: Path) -> None:
    dataset = load(fsdd_root, validation_samples=50, test_samples=200)
    assert dataset.shapes() == {"audio": (1, 64, 64), "image": (1, 8, 8)}
    samples = AVDigits.samples(AVDigitsOptions(root="nowhere"))
    assert {modality: sample.shape for modality, sample in samples.items()} == dataset.shapes()
    with pytest.raises(AbsentDataError, match="nowhere: no such folder"):
        AVDigits.describe(AVDigitsOptions(root="nowhere"))
    assert [len(getattr(dataset, name)) for name in SPLITS] == [40, 50, 200]
    assert dataset.notes == ("test: 200 samples share 100 recordings",)


def test_held_out_speakers_and_gaps_are_noted(tmp_path: Path, fsdd: Any) -> None:
    fsdd(tmp_path, ["ann", "bob"], range(12))
    (tmp_path / "recordings" / "3_bob_2.wav").unlink()
    dataset = load(tmp_path, test_speakers=["bob"])
    assert len(dataset.test) == 119
    assert "recordings missing: 1 (3_bob_2.wav)" in dataset.notes
    assert "speakers heard in the test split alone: bob" in dataset.notes


def test_a_digit_without_recordings_is_refused(tmp_path: Path, fsdd: Any) -> None:
    folder = fsdd(tmp_path, ["ann", "bob"], range(12)) / "recordings"
    for index in range(5, 10):
        (folder / f"6_ann_{index}.wav").unlink()
    assert len(load(tmp_path).validation) == 95
    with pytest.raises(DataError, match="validation: no recording of the digit 6"):
        load(tmp_path, test_speakers=["bob"])
    with pytest.raises(DataError, match="no recordings of 'eve'"):
        load(tmp_path, test_speakers=["eve"])


def test_a_corrupt_recording_is_named(tmp_path: Path, fsdd: Any) -> None:
    path = fsdd(tmp_path) / "recordings" / "5_bob_7.wav"
    path.write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"5_bob_7\.wav: not a PCM WAV file"):
        load(tmp_path)


def test_silence_stays_finite(tmp_path: Path, wav: Any) -> None:
    for digit in range(10):
        for index in (0, 5, 10):
            wav(tmp_path / f"{digit}_ann_{index}.wav", [0] * 100)
    dataset = load(tmp_path)
    assert dataset.train.inputs["audio"].abs().max().item() < 0.01
    assert "recordings missing: 80 (0_ann_1.wav, 0_ann_2.wav, 0_ann_3.wav, ...)" in dataset.notes


def test_everything_follows_from_split_seed(fsdd_root: Path, mnist_root: Path) -> None:
    def make(**more: Any) -> Dataset:
        return load(fsdd_root, mnist_root=str(mnist_root), audio_noise=0.1, image_noise=0.2, image_pca=0.5, **more)

    first, again, other = make(), make(), make(split_seed=1)
    for name in SPLITS:
        for modality in first.modalities:
            values = getattr(first, name).inputs[modality]
            assert torch.equal(values, getattr(again, name).inputs[modality])
            assert not torch.equal(values, getattr(other, name).inputs[modality])


def test_all_components_are_the_images_themselves(
    fsdd_root: Path, mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = list[float]()

    def keep(images: np.ndarray, training: np.ndarray, share: float) -> np.ndarray:
        shares.append(share)
        return images

    monkeypatch.setattr(av_digits, "keep_components", keep)
    for share in (1.0, 0.75):  # of seeds that no other test computes
        load(fsdd_root, mnist_root=str(mnist_root), image_pca=share, split_seed=40 + len(shares))
    assert shares == [0.75]


@pytest.mark.parametrize(
    ("option", "changed"), [("audio_noise", "audio"), ("image_noise", "image"), ("image_pca", "image")]
)
def test_each_knob_turns_its_own_modality(fsdd_root: Path, mnist_root: Path, option: str, changed: str) -> None:
    clean = load(fsdd_root, mnist_root=str(mnist_root))
    turned = load(fsdd_root, mnist_root=str(mnist_root), **{option: 0.02})
    for modality in clean.modalities:
        for name in SPLITS:
            same = torch.equal(getattr(clean, name).inputs[modality], getattr(turned, name).inputs[modality])
            assert same == (modality != changed)


def test_fingerprints_change_with_content_and_not_with_location(tmp_path: Path, fsdd: Any, mnist: Any) -> None:
    fsdd(tmp_path / "a", ["ann"], [0])
    shutil.copytree(tmp_path / "a" / "recordings", tmp_path / "b")
    packed, plain = mnist(tmp_path / "packed"), mnist(tmp_path / "plain", packed=False)

    def digest(root: str, **options: Any) -> str:
        return AVDigits.fingerprint(AVDigitsOptions(root=str(tmp_path / root), **options))

    first = digest("a")
    assert digest("b") == first == digest("a/recordings", split_seed=3, train_samples=10)
    with_mnist = digest("a", mnist_root=str(packed))
    assert with_mnist == digest("b", mnist_root=str(plain)) != first
    assert digest("a", mnist_root=str(mnist(tmp_path / "darker", shade=10))) != with_mnist
    path = tmp_path / "b" / "4_ann_0.wav"
    path.rename(tmp_path / "b" / "4_ann_1.wav")
    renamed = digest("b")
    content = bytearray((tmp_path / "b" / "4_ann_1.wav").read_bytes())
    content[-1] ^= 1
    (tmp_path / "b" / "4_ann_1.wav").write_bytes(content)
    assert len({first, with_mnist, renamed, digest("b")}) == 4


def test_a_fingerprint_refuses_a_speaker_that_nobody_recorded(fsdd_root: Path) -> None:
    options = AVDigits.Options(root=str(fsdd_root), test_speakers=["nobody"])
    with pytest.raises(DataError, match="no recordings of 'nobody'"):
        AVDigits.fingerprint(options)


def test_a_fingerprint_of_nothing_is_refused(tmp_path: Path, fsdd_root: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        AVDigits.fingerprint(AVDigitsOptions(root=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="no MNIST files"):
        AVDigits.fingerprint(AVDigitsOptions(root=str(fsdd_root), mnist_root=str(tmp_path)))


# Declaration ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Field required"),
        ({"root": ""}, "at least 1 character"),
        ({"root": "x", "image_pca": 0}, "greater than 0"),
        ({"root": "x", "image_pca": 1.1}, "less than or equal to 1"),
        ({"root": "x", "image_noise": -0.1}, "greater than or equal to 0"),
        ({"root": "x", "audio_noise": float("nan")}, "finite"),
        ({"root": "x", "train_samples": 9}, "greater than or equal to 10"),
        ({"root": "x", "test_speakers": "bob"}, "valid list"),
        ({"root": "x", "test_speakers": ["bob", "bob"]}, "named twice"),
        ({"root": "x", "speakers": ["bob"]}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AVDigitsOptions(**options)


def test_the_declaration() -> None:
    options = AVDigitsOptions(root="x", image_pca=1, test_speakers=["theo", "lucas"])
    assert options.test_speakers == ["lucas", "theo"]
    assert AVDigits.encoders(options) == {"audio": {"name": "cnn"}, "image": {"name": "cnn"}}
    assert AVDigits.paths <= set(AVDigitsOptions.model_fields)
    assert AVDigits.test_peak
    recipe = dict(AVDigits.recipe)
    assert recipe.pop("epochs") == 10
    assert Recipe(**recipe).schedule.name == "cosine"


@pytest.mark.skipif("SWEEP_FSDD" not in os.environ, reason="SWEEP_FSDD names no copy of the Free Spoken Digit Dataset")
def test_the_real_recordings() -> None:
    dataset = AVDigits.load(AVDigitsOptions(root=os.environ["SWEEP_FSDD"], train_samples=200))
    assert len(dataset.test) % 50 == 0
    assert torch.bincount(dataset.test.labels).unique().numel() == 1
    assert not any(note.startswith("recordings missing") for note in dataset.notes)
