"""Sound of any file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.media_files import STUB, shaded, tone, write_sound, write_video

from data.base import DataError
from data.media import MediaError
from data.media._files import require_package
from data.media.audio import _chunks, _coding, _full_scale, _with_size, read_audio, read_sound, resample


def test_wav_samples_are_shares_of_full_scale_whatever_their_width(tmp_path: Path) -> None:
    from scipy.io import wavfile

    shares = [0.0, 0.5, -1.0]
    for kind, values in {
        "u1": [128, 192, 0],
        "<i2": [0, 2**14, -(2**15)],
        "<i4": [0, 2**30, -(2**31)],
        "<f4": shares,
    }.items():
        wavfile.write(tmp_path / "a.wav", 8000, np.array(values, kind))
        wave = read_audio(tmp_path / "a.wav", 8000)
        assert wave.dtype == torch.float32
        assert wave.tolist() == shares


def test_channels_are_averaged_and_peaks_clipped(tmp_path: Path) -> None:
    stereo = np.array([[0.5, -0.25], [0.0, 0.5]], np.float32)
    assert read_audio(write_sound(tmp_path / "a.wav", stereo, 8000), 8000).tolist() == [0.125, 0.25]
    from scipy.io import wavfile

    wavfile.write(tmp_path / "b.wav", 8000, np.array([3.0, -2.0, 0.5], np.float32))
    assert read_audio(tmp_path / "b.wav", 8000).tolist() == [1.0, -1.0, 0.5]


@pytest.mark.parametrize(("found", "rate"), [(16000, 22050), (16000, 35400), (44100, 16000), (16001, 16000)])
def test_resampling_keeps_a_tone(found: int, rate: int) -> None:
    wave = resample(torch.from_numpy(tone(found, 0.5)), found, rate)
    assert len(wave) == rate // 2
    inner = slice(rate // 20, -rate // 20)  # the filter meets zeros at the ends
    assert torch.allclose(wave[inner], torch.from_numpy(tone(rate, 0.5))[inner], atol=2e-4)
    assert resample(wave, rate, rate) is wave


@pytest.mark.parametrize("suffix", [".flv", ".mp4", ".avi"])
def test_the_sound_of_a_video_is_that_of_the_wav(tmp_path: Path, suffix: str) -> None:
    sound = tone(22050, 0.5)
    wave = read_audio(write_video(tmp_path / f"a{suffix}", shaded(15), 30, sound), 22050)
    assert 0.5 <= len(wave) / 22050 < 0.65  # codecs pad by a block or two
    spectrum = torch.fft.rfft(wave[2000:10000] * torch.hann_window(8000)).abs()
    assert abs(spectrum.argmax().item() * 22050 / 8000 - 440) < 22050 / 8000
    assert wave.abs().max().item() == pytest.approx(0.5, abs=0.1)


def test_files_without_sound_are_refused_with_the_reason(tmp_path: Path) -> None:
    for name, content, reason in [
        ("gone.wav", None, "cannot be read (No such file or directory); check the path and its permissions"),
        ("zero.wav", b"", "the file is empty; copy or download it again"),
        ("stub.wav", STUB, "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository"),
        ("stub.flv", STUB, "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository"),
        ("text.wav", b"hello, I am no sound at all, but text", "not a WAV file that can be read (File format b'hell'"),
        ("text.mp3", b"hello, I am no sound at all, but text", "damaged or of an unknown kind (Invalid data"),
    ]:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(MediaError) as caught:
            read_audio(path, 8000)
        assert caught.value.path == path
        assert caught.value.reason.startswith(reason)


def test_a_wav_without_samples_or_with_infinite_ones_is_refused(tmp_path: Path) -> None:
    from scipy.io import wavfile

    with pytest.raises(MediaError, match=r"none\.wav: no samples"):
        read_audio(write_sound(tmp_path / "none.wav", np.zeros(0, np.float32), 8000), 8000)
    wavfile.write(tmp_path / "inf.wav", 8000, np.array([0, np.inf], np.float32))
    with pytest.raises(MediaError, match=r"inf\.wav: samples that are not finite"):
        read_audio(tmp_path / "inf.wav", 8000)


def test_a_wav_whose_header_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for rate in (0, 1, 99, 192_001, 4_000_000):
        with pytest.raises(
            MediaError, match=rf"rate\.wav: a sample rate of {rate} Hz; convert it to one between 100 and"
        ):
            read_audio(write_sound(tmp_path / "rate.wav", tone(8000, 0.1), rate), 8000)
    for rate in (100, 192_000):
        assert len(read_audio(write_sound(tmp_path / "rate.wav", tone(8000, 0.1), rate), rate)) == 800
    path = write_sound(tmp_path / "a.wav", tone(8000, 0.1), 8000)
    path.write_bytes(path.read_bytes().replace(b"data", b"atad", 1))
    with pytest.raises(MediaError, match=r"a\.wav: a WAV file without format or samples"):
        read_audio(path, 8000)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("odd", [b"", b"x"])
def test_a_stream_whose_header_leaves_its_size_open_is_read_to_the_end(tmp_path: Path, size: int, odd: bytes) -> None:
    path = write_sound(tmp_path / "a.wav", tone(8000, 0.1), 8000)
    whole, content = read_audio(path, 8000), path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:4] + size.to_bytes(4, "little") + content[8:at] + size.to_bytes(4, "little")
                     + content[at + 4 :] + odd)  # fmt: skip
    assert torch.equal(read_audio(path, 8000), whole)


def test_samples_of_size_0_before_another_chunk_are_none(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", np.zeros(0, np.float32), 8000)
    path.write_bytes(path.read_bytes() + b"LIST\x04\0\0\0INFO")
    with pytest.raises(MediaError, match=r"a\.wav: no samples"):
        read_audio(path, 8000)


@pytest.mark.parametrize(("codec", "tag"), [("pcm_mulaw", 7), ("pcm_alaw", 6)])
def test_companded_sound_is_read_by_the_media_library(tmp_path: Path, codec: str, tag: int) -> None:
    import av

    path, sound = tmp_path / "a.wav", tone(8000, 0.5)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.round(sound[None] * 2**15).astype(np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert path.read_bytes()[20] == tag
    assert torch.allclose(read_audio(path, 8000), torch.from_numpy(sound), atol=0.02)


@pytest.mark.parametrize(("peak", "full", "beyond"), [(1, 1, False), (1.5, 1, True), (8, 1, True), (2**14, 2**15, True),
                                                      (2**20, 2**23, True), (2**31, 2**31, True)])  # fmt: skip
def test_floating_point_samples_beyond_full_scale_are_told_and_scaled_where_they_are_whole_numbers(
    tmp_path: Path, peak: float, full: float, beyond: bool
) -> None:
    from scipy.io import wavfile

    wavfile.write(tmp_path / "a.wav", 8000, np.array([peak, -peak / 4, 0], np.float32))
    sound = read_sound(tmp_path / "a.wav", 8000)
    assert sound.beyond == beyond
    assert sound.wave.tolist() == [min(1, peak / full), max(-1, -peak / 4 / full), 0]


@pytest.mark.parametrize("share", [0.99, 0.5, 0.002])
def test_a_truncated_wav_is_refused(tmp_path: Path, share: float) -> None:
    path = write_sound(tmp_path / "a.wav", tone(8000, 1), 8000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MediaError, match=r"a\.wav: (truncated|not a WAV file that can be read)"):
        read_audio(path, 8000)


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.flv: no audio stream"):
        read_audio(write_video(tmp_path / "a.flv", shaded(3)), 8000)


def test_a_missing_library_is_no_fault_of_the_file() -> None:
    with pytest.raises(DataError, match="reading sound needs the package not-there: pip install not-there"):
        require_package("not_there", "not-there", "reading sound")


# Chunks of a WAV file ---------------------------------------------------------------------------------------------


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A RIFF file of these chunks, each filled up to an even length."""
    body = b"".join(
        name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2) for name, content in chunks
    )
    return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WAVE" + body


def test_chunks_are_walked_by_their_even_lengths_up_to_the_samples() -> None:
    content = riff((b"LIST", b"abc"), (b"fmt ", bytes(16)), (b"data", b"1234"), (b"more", b""))
    assert list(_chunks(content)) == [(b"LIST", 20, 3), (b"fmt ", 32, 16), (b"data", 56, 4)]
    assert content[56:60] == b"1234"
    assert list(_chunks(riff((b"fmt ", bytes(2)), (b"more", b"")))) == [(b"fmt ", 20, 2), (b"more", 30, 0)]
    assert list(_chunks(b"RIFX" + content[4:])) == list(_chunks(content[:8] + b"WAVX" + content[12:])) == []
    assert list(_chunks(content[:19])) == []


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (b"\x07\0" + bytes(14), 7),
        (b"\x03\0", 3),
        (b"\x03", 1),  # too short to say
        (b"\xfe\xff" + bytes(22) + b"\x07\0" + bytes(14), 7),  # extensible: 40 bytes
        (b"\xfe\xff" + bytes(22) + b"\x07\0" + bytes(13), 0xFFFE),
        (b"\x01\0" + bytes(22) + b"\x07\0" + bytes(14), 1),
    ],
)
def test_the_coding_stands_in_the_format_chunk(header: bytes, coding: int) -> None:
    assert _coding(riff((b"LIST", b"\x06\0"), (b"fmt ", header), (b"data", b""))) == coding


def test_without_a_format_chunk_the_coding_is_the_plain_one() -> None:
    assert _coding(riff((b"data", b"12"))) == _coding(b"no RIFF") == 1


def test_an_open_size_reaches_to_the_last_whole_frame() -> None:
    header = (b"fmt ", bytes(12) + b"\x04\0" + bytes(2))  # four bytes a frame
    whole = riff(header, (b"data", b"1234abcd"))
    for size in (b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"):
        assert _with_size(whole[:40] + size + whole[44:] + b"xyz") == whole
    closed = riff(header, (b"data", b"1234"), (b"LIST", b"1234"))
    assert _with_size(closed) == closed
    nothing = riff(header, (b"data", b""), (b"LIST", b"12"))
    assert _with_size(nothing) == nothing
    odd = riff(header, (b"data", b""), (b"LIST", b"1"))
    assert _with_size(odd) == odd


def test_the_full_scale_is_that_of_the_narrowest_whole_numbers() -> None:
    peaks = [8.5, 2.0**15, 2.0**15 + 1, 2.0**23, 2.0**23 + 1, 2.0**31, 2.0**32]
    assert [_full_scale(peak) for peak in peaks] == [2**15, 2**15, 2**23, 2**23, 2**31, 2**31, 2**32]


def test_a_resampled_sound_is_as_long_as_before_rounded_up() -> None:
    for found, rate, count in ((8000, 16000, 20), (16000, 8000, 5), (3, 2, 7), (7, 7, 10)):
        assert len(resample(torch.zeros(10), found, rate)) == count
