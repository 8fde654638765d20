from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.batches_of_forms import assert_a_device_is_served_the_same
from support.media_files import serve, tone, write_sound

from data.media import MediaError
from data.prepared.cache.store import SampleStore
from data.prepared.forms import FilterBank, Form, Spectrogram, sound
from data.prepared.forms.base import Stored
from data.prepared.forms.sound import fill_up, log_stft

CREMA_D = Spectrogram(rate=22050, seconds=3, n_fft=512, hop=353, dtype="float32")
KINETICS = Spectrogram(rate=35400, seconds=10, n_fft=512, hop=353)
VGGSOUND = Spectrogram(rate=16000, seconds=5, n_fft=256, hop=128, crop="random")
SMALL = Spectrogram(rate=8000, seconds=0.1, n_fft=64, hop=40, dtype="float32")


def hiss(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, count).astype(np.float32)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("form", "shape"),
    [
        (CREMA_D, (1, 257, 188)),
        (Spectrogram(rate=22050, seconds=20, n_fft=512, hop=353), (1, 257, 1250)),
        (KINETICS, (1, 257, 1003)),
        (VGGSOUND, (1, 129, 626)),
        (FilterBank(), (1, 1024, 128)),
    ],
)
def test_shapes_of_the_papers(tmp_path: Path, form: Spectrogram | FilterBank, shape: tuple[int, ...]) -> None:
    path = write_sound(tmp_path / "a.wav", tone(16000, 1.5), 16000)
    for split in ("train", "test"):
        column = serve(form, [path], split, tmp_path)  # type: ignore[arg-type]
        assert column.shape == shape
        assert column.gather(torch.tensor([0, 0]), "cpu").shape == (2, *shape)


def test_a_spectrogram_is_the_formula_in_numpy() -> None:
    wave, n_fft, hop = hiss(400), 64, 40
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    padded = np.pad(wave, n_fft // 2)
    frames = [padded[start : start + n_fft] * window for start in range(0, 401, hop)]
    expected = np.log(np.abs(np.fft.rfft(frames)).T + 1e-7)
    assert np.allclose(log_stft(torch.from_numpy(wave), n_fft, hop), expected, atol=1e-4)


def test_silence_is_the_logarithm_of_the_floor(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", np.zeros(800, np.float32), 8000)
    assert np.allclose(SMALL.decode(path, "test")["spectrogram"], np.log(1e-7))


def test_short_sounds_are_tiled_or_padded_and_long_ones_cut(tmp_path: Path) -> None:
    wave = torch.arange(1.0, 4.0)
    assert fill_up(wave, 7, "tile").tolist() == [1, 2, 3, 1, 2, 3, 1]
    assert fill_up(wave, 5, "zero").tolist() == [1, 2, 3, 0, 0]
    assert fill_up(wave, 2, "tile").tolist() == [1, 2, 3]
    sound = np.round(hiss(2000) * 2**15) / 2**15
    path = write_sound(tmp_path / "a.wav", sound.astype(np.float32), 8000)
    for crop, start in (("start", 0), ("centre", 600)):
        form = Spectrogram(rate=8000, seconds=0.1, n_fft=64, hop=40, dtype="float32", crop=crop)  # type: ignore[arg-type]
        expected = log_stft(torch.from_numpy(sound[start : start + 800].astype(np.float32)), 64, 40)
        assert np.array_equal(form.decode(path, "train")["spectrogram"], expected)


def test_a_random_crop_is_a_window_of_the_longer_spectrogram(tmp_path: Path) -> None:
    form = Spectrogram(rate=8000, seconds=0.1, n_fft=64, hop=40, crop="random", dtype="float32")
    paths = [write_sound(tmp_path / f"{k}.wav", hiss(2000, k), 8000) for k in range(3)]
    train, test = (serve(form, paths, split, tmp_path) for split in ("train", "test"))  # type: ignore[arg-type]
    whole = torch.stack([torch.from_numpy(form.decode(path, "train")["spectrogram"]) for path in paths])
    assert whole.shape == (3, 33, 41)
    index = torch.tensor([2, 0, 1] * 20)
    drawn = train.draw(index, "cpu", seeded())
    assert drawn.shape == (60, 1, 33, 21)
    starts = [
        next(s for s in range(21) if torch.equal(crop[0], whole[row][:, s : s + 21]))
        for crop, row in zip(drawn, index.tolist(), strict=True)
    ]
    assert len(set(starts)) > 10
    assert torch.equal(train.gather(index, "cpu")[0, 0], whole[2][:, 10:31])
    middle = test.gather(torch.tensor([2]), "cpu")[0, 0]
    assert torch.allclose(middle[:, 1:-1], whole[2][:, 11:30], atol=1e-4)
    assert torch.equal(test.draw(index, "cpu", seeded()), test.gather(index, "cpu"))


def test_any_split_of_the_batch_among_workers_draws_the_same(tmp_path: Path) -> None:
    form = Spectrogram(
        rate=8000, seconds=0.1, n_fft=64, hop=40, crop="random", dtype="float32", mask_bands=8, mask_frames=5
    )
    column = serve(form, [write_sound(tmp_path / f"{k}.wav", hiss(2000, k), 8000) for k in range(5)], "train", tmp_path)
    index = torch.tensor([4, 1, 0, 3, 2])
    joint = column.draw(index, "cpu", seeded())
    parts = [column.draw(index, "cpu", seeded(), part) for part in (slice(0, 2), slice(2, 5))]
    assert torch.equal(joint, torch.cat(parts))
    assert not torch.equal(joint, column.draw(index, "cpu", seeded(1)))


def test_masks_are_off_unless_asked_for(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", hiss(2000), 8000)
    index = torch.zeros(16, dtype=torch.int64)
    for form in (SMALL, FilterBank(rate=8000, mels=16, frames=32, dtype="float32")):
        column = serve(form, [path], "train", tmp_path / type(form).__name__)
        assert torch.equal(column.draw(index, "cpu", seeded()), column.gather(index, "cpu"))
    masked = FilterBank(rate=8000, mels=16, frames=32, dtype="float32", mask_bands=6)
    column = serve(masked, [path], "train", tmp_path)
    changed = (column.draw(index, "cpu", seeded()) != column.gather(index, "cpu")).float().mean((0, 1))
    assert changed.shape == (32, 16)
    assert 0 < changed[:20].mean() < 0.5
    assert torch.equal(changed[:20].amax(0), changed[:20].amin(0))  # bands as a whole, in the real frames


def test_a_filter_bank_is_kaldis_of_the_mean_free_wave(tmp_path: Path) -> None:
    from torchaudio.compliance.kaldi import fbank

    sound = (np.round((hiss(16000) + 0.1) * 2**15) / 2**15).astype(np.float32)
    path = write_sound(tmp_path / "a.wav", sound, 16000)
    form = FilterBank(mean=-4.503877, deviation=10.282552, dtype="float32")
    served = serve(form, [path], "test", tmp_path).gather(torch.tensor([0]), "cpu")[0, 0]
    wave = torch.from_numpy(sound)
    bank = fbank((wave - wave.mean())[None], htk_compat=True, use_energy=False, window_type="hanning",
                 num_mel_bins=128, dither=0.0, frame_shift=10)  # fmt: skip
    assert bank.shape == (98, 128)
    assert torch.allclose(served[:98], (bank + 4.503877) / 10.282552)
    assert torch.allclose(served[98:], torch.tensor(4.503877 / 10.282552))
    short = FilterBank(frames=50, dtype="float32").decode(path, "train")["bank"]
    assert np.array_equal(short, bank[:50])


def test_half_precision_is_near(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", hiss(2000), 8000)
    half = Spectrogram(rate=8000, seconds=0.1, n_fft=64, hop=40)
    exact, near = (form.decode(path, "test")["spectrogram"] for form in (SMALL, half))
    assert near.dtype == np.float16
    assert 0 < np.abs(exact - near.astype(np.float32)).max() < 2**-8
    assert serve(half, [path], "test", tmp_path).gather(torch.tensor([0]), "cpu").dtype == torch.float32


def test_sound_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", hiss(63), 8000)
    with pytest.raises(MediaError, match=r"a\.wav: 0\.008 s of sound, less than one window of 64 samples"):
        SMALL.decode(path, "train")
    with pytest.raises(MediaError, match=r"a\.wav: 0\.008 s of sound, less than one window of 0\.025 s"):
        FilterBank(rate=8000).decode(path, "train")
    (tmp_path / "zero.wav").touch()
    with pytest.raises(MediaError, match=r"zero\.wav: the file is empty"):
        SMALL.decode(tmp_path / "zero.wav", "train")


def test_forms_travel_and_tell_themselves_apart() -> None:
    assert pickle.loads(pickle.dumps(VGGSOUND)) == VGGSOUND
    assert repr(VGGSOUND) != repr(KINETICS)


def test_a_resident_column_serves_the_same(tmp_path: Path) -> None:
    column = serve(SMALL, [write_sound(tmp_path / f"{k}.wav", hiss(900, k), 8000) for k in range(3)], "train", tmp_path)
    index = torch.tensor([2, 0])
    resident = column.resident("cpu")
    assert torch.equal(resident.draw(index, "cpu", seeded()), column.draw(index, "cpu", seeded()))
    assert len(resident) == 3
    assert column.nbytes == resident.nbytes == 3 * (33 * 21 * 4 + 1)


@pytest.mark.parametrize(
    "form",
    [
        Spectrogram(rate=800, seconds=0.5, n_fft=16, hop=40),
        Spectrogram(rate=800, seconds=0.5, n_fft=16, hop=40, crop="random", dtype="float32", mask_bands=3),
        FilterBank(frames=20, mels=16, mean=-4.5, deviation=10.3, mask_frames=5),
    ],
    ids=["whole", "random crop", "filter bank"],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_device_is_served_what_the_host_is(form: Form, split: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_a_device_is_served_the_same(form, sound, split, monkeypatch)


def test_evaluation_is_never_masked(tmp_path: Path) -> None:
    index = torch.arange(8) % 2
    masks = {"mask_bands": 8, "mask_frames": 8}
    for form in (
        Spectrogram(rate=8000, seconds=0.1, n_fft=64, hop=40, crop="random", **masks),  # type: ignore[arg-type]
        FilterBank(rate=8000, mels=16, frames=32, **masks),  # type: ignore[arg-type]
    ):
        folder = tmp_path / type(form).__name__
        paths = [write_sound(folder / f"{k}.wav", hiss(2000, k), 8000) for k in range(2)]
        for split in ("train", "validation", "test"):
            column = serve(form, paths, split, folder)  # type: ignore[arg-type]
            plain = torch.equal(column.draw(index, "cpu", seeded()), column.gather(index, "cpu"))
            assert plain is (split != "train")
            assert torch.equal(
                column.draw(index, "cpu", seeded(), slice(2, 5)), column.draw(index, "cpu", seeded())[2:5]
            )


def test_what_is_stored_of_a_sound_has_its_name_until_its_decoding_changes() -> None:
    """Another name makes every user decode everything again."""
    assert [SampleStore.of(form, "train").name for form in (CREMA_D, VGGSOUND, FilterBank())] == [
        "samples-spectrogram-b2368f6a3204e55f",
        "samples-spectrogram-cdf7e635f3654862",
        "samples-filterbank-317e10ff36ba2bc9",
    ]


def test_a_sound_that_says_no_length_is_taken_for_twice_what_is_served() -> None:
    assert VGGSOUND.source_samples() == 160_000
    assert replace(VGGSOUND, source_seconds=7.5).source_samples() == 120_000
    assert VGGSOUND.stored("train")["spectrogram"] == Stored("float16", (129, 1 + 160_000 // 128))
    assert VGGSOUND.stored("test")["spectrogram"] == Stored("float16", (129, 626))
