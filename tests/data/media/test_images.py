"""Pictures of any file."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.media_files import STUB, noise, write_picture

from data.media import MediaError
from data.media.images import grey_levels, read_image, resized


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "RGB"), ("a.png", "RGBA"), ("a.png", "L"), ("a.png", "P"), ("a.png", "1"), ("a.jpg", "CMYK")],
)
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, name: str, mode: str) -> None:
    from PIL import Image

    path = write_picture(tmp_path / name, noise(6, 8), mode)
    with Image.open(path) as opened:
        assert opened.mode == mode
        expected = np.asarray(opened.convert("RGB"))
    picture = read_image(path)
    assert picture.mode == "RGB"
    assert picture.size == (8, 6)
    assert np.array_equal(np.asarray(picture), expected)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.dstack([noise(4, 4), np.zeros((4, 4), np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), pixels[..., :3])


def test_greyscale_of_sixteen_bits_keeps_its_shades(tmp_path: Path) -> None:
    from PIL import Image

    shades = np.arange(64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(1024 * shades + 7).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.png")), np.stack([4 * shades] * 3, -1))


RAMP = [0, 64, 128, 255]


@pytest.mark.parametrize(
    ("name", "kind", "pixels", "levels"),
    [
        ("a.tif", "<i4", [0, 16448, 32896, 65535], RAMP),  # as 16 bits
        ("a.tif", "<i4", RAMP, RAMP),  # as 8 bits
        ("a.tif", "<i4", [-1000, 1_000_000, 2_000_000, 3_999_000], [0, 64, 128, 255]),  # its own range
        ("a.tif", "<f4", [0, 0.25, 0.5, 1], RAMP),
        ("a.tif", "<f4", RAMP, RAMP),
        ("a.tif", "<f4", [-1, -0.5, 0, 1], RAMP),
        ("a.tif", "<f4", [7, 7, 7, 7], [7] * 4),
        ("a.tif", "<f4", [-7, -7, -7, -7], [0] * 4),
        ("a.pfm", "<f4", [0, 0.25, 0.5, 1], RAMP),
    ],
)
def test_pixels_of_more_than_eight_bits_are_scaled(
    tmp_path: Path, name: str, kind: str, pixels: list[float], levels: list[int]
) -> None:
    from PIL import Image

    Image.fromarray(np.array([pixels], kind)).save(tmp_path / name)
    assert np.asarray(read_image(tmp_path / name))[0, :, 0].tolist() == levels


@pytest.mark.parametrize(("order", "scale"), [("<f4", "-1.0"), (">f4", "1"), (">f4", "0.25"), ("<f4", "-1e-2")])
def test_a_pfm_of_three_channels_is_scaled_as_one_of_grey(tmp_path: Path, order: str, scale: str) -> None:
    """Rows stand from the bottom to the top; one scale holds for all channels."""
    pixels = np.array([[[0, 0.25, 0.5], [0.5, 0.5, 0.5]], [[1, 0, 0], [0, 0, 1]]], order)
    path = tmp_path / "a.pfm"
    path.write_bytes(f"PF\n2 2\n{scale}\n".encode() + pixels[::-1].tobytes())
    picture = read_image(path)
    assert picture.mode == "RGB"
    assert np.asarray(picture).tolist() == [[[0, 64, 128], [128] * 3], [[255, 0, 0], [0, 0, 255]]]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(MediaError, match=r"a\.pfm: damaged \(40 of 48 bytes of pixels are there\); copy or download"):
        read_image(path)
    assert np.asarray(read_image(path, allow_truncated=True))[0, 1].tolist() == [128, 0, 0]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("PF\n0 2\n-1\n", "a header of 0 x 2 pixels"),
        ("PF\n1 2\n0.0\n", "scale 0"),
        ("PF\n99999 99999\n-1\n", "million pixels"),
        ("PF\n# made by hand\n1 1\n-1\n", "not a picture of a known kind"),
    ],
)
def test_an_odd_header_of_a_pfm_of_three_channels_is_refused(tmp_path: Path, header: str, said: str) -> None:
    (tmp_path / "a.pfm").write_bytes(header.encode() + bytes(24))
    with pytest.raises(MediaError, match=said):
        read_image(tmp_path / "a.pfm")


@pytest.mark.parametrize("most", [4095, 65535, 1000])
def test_the_full_scale_of_a_pgm_is_its_own(tmp_path: Path, most: int) -> None:
    shades = np.rint(np.array([0, 0.25, 0.5, 1]) * most).astype(">u2")
    (tmp_path / "a.pgm").write_bytes(f"P5\n4 1\n{most}\n".encode() + shades.tobytes())
    assert np.abs(np.asarray(read_image(tmp_path / "a.pgm"))[0, :, 0] - np.array([0, 63.75, 127.5, 255])).max() < 1


@pytest.mark.parametrize(
    ("kind", "pixels", "levels"),
    [
        ("<i4", [0, 255], [0, 255]),
        ("<i4", [0, 256], [0, 1]),  # of 65,535
        ("<u2", [1, 65535], [0, 255]),
        ("<i4", [0, 65536], [0, 255]),  # its own range
        ("<i4", [-1, 254], [0, 255]),
        ("<i4", [1, 1], [1, 1]),
        ("<f4", [0, 1], [0, 255]),
        ("<f4", [0.5, 1.5], [0, 2]),  # of 255, to the nearest even number
        ("<f4", [0, 300], [0, 1]),
        ("<f8", [70000, 70000], [0, 0]),
    ],
)
def test_the_full_scale_is_the_smallest_that_holds_all_pixels(
    kind: str, pixels: list[float], levels: list[int]
) -> None:
    found = grey_levels(np.array([pixels], kind))
    assert (found.dtype, found.tolist()) == (np.uint8, [levels])


def test_reading_leaves_the_settings_of_the_process_as_they_are(tmp_path: Path) -> None:
    from PIL import ImageFile

    path, filters = write_picture(tmp_path / "a.png", noise(4, 4)), list(warnings.filters)
    for before in (True, False):
        ImageFile.LOAD_TRUNCATED_IMAGES = before
        read_image(path, allow_truncated=not before)
        assert ImageFile.LOAD_TRUNCATED_IMAGES is before
    assert warnings.filters == filters


def test_pixels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(MediaError, match=r"a\.tif: damaged \(pixels that are not finite\)"):
        read_image(tmp_path / "a.tif")


def test_exif_orientation_is_left_alone(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(noise(6, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").size == (8, 6)


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    pixel = np.array([[[10, 20, 30]]], np.uint8)
    picture = read_image(write_picture(tmp_path / "a.png", pixel))
    assert np.array_equal(resized(picture, 5, 4), np.broadcast_to(pixel, (5, 4, 3)))


@pytest.mark.parametrize("shape", [(48, 64), (11, 7), (32, 24)])
def test_resizing_is_torchvisions_to_the_bit(shape: tuple[int, int]) -> None:
    from PIL import Image
    from torchvision.transforms import functional as F

    picture = Image.fromarray(noise(*shape))
    expected = np.asarray(F.resize(picture, [32, 24]))
    assert np.array_equal(resized(picture, 32, 24), expected)
    assert np.array_equal(resized(np.asarray(picture), 32, 24), expected)
    assert resized(np.zeros((4, 4), np.uint8), 2, 3).shape == (2, 3, 1)


def test_a_truncated_picture_is_used_or_refused_as_asked(tmp_path: Path) -> None:
    from PIL import ImageFile

    path = write_picture(tmp_path / "a.jpg", noise(64, 64))
    whole = np.asarray(read_image(path))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(MediaError, match=r"a\.jpg: damaged \(.*truncated.*\); copy or download it again"):
        read_image(path)
    part = np.asarray(read_image(path, allow_truncated=True))
    assert part.shape == whole.shape
    assert np.array_equal(part[:8], whole[:8])
    assert not np.array_equal(part[-16:], whole[-16:])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_files_that_are_no_picture_are_refused_with_the_reason(tmp_path: Path) -> None:
    for content, reason in [
        (b"", "the file is empty"),
        (STUB, "a Git LFS pointer"),
        (b"<html>404 not found</html>", "not a picture of a known kind; copy or convert it again"),
    ]:
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(MediaError, match=rf"a\.jpg: {reason}"):
            read_image(tmp_path / "a.jpg", allow_truncated=True)
    with pytest.raises(MediaError, match=r"gone\.jpg: cannot be read \(No such file"):
        read_image(tmp_path / "gone.jpg")
    path = write_picture(tmp_path / "b.png", noise(64, 64))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"b\.png: damaged"):
        read_image(path)


@pytest.mark.parametrize("edge", [10_000, 60_000])
def test_a_decompression_bomb_is_refused_unopened(tmp_path: Path, edge: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", edge, edge, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))
    with pytest.raises(MediaError, match=r"bomb\.png: more than 89 million pixels; make it smaller or remove it"):
        read_image(path, allow_truncated=True)
