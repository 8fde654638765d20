"""Pictures as RGB, by Pillow."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.media import MediaError
from data.media._files import require_file

if TYPE_CHECKING:
    from PIL.Image import Image


def read_image(path: Path, allow_truncated: bool = False) -> Image:
    """Read the picture in RGB: transparency is dropped, greyscale, palette and CMYK are converted, an animation gives
    its first picture, and an EXIF orientation is not applied (the papers' loaders do not apply it either). Pixels of
    more than 8 bits are scaled: see :func:`grey_levels`.

    allow_truncated: what is missing of a broken-off file becomes grey or black. Raises MediaError for a file that is
    missing, empty, a Git LFS pointer, no picture, truncated (unless allowed), of pixels that are not finite, or of so
    many that Pillow takes it for an attack."""
    from PIL import Image, UnidentifiedImageError

    require_file(path)
    try:
        with warnings.catch_warnings(), _truncated(allow_truncated):
            warnings.simplefilter("ignore")  # about unused metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if (levels := _colour_pfm(path, allow_truncated)) is not None:
                return Image.fromarray(levels)
            with Image.open(path) as picture:
                return _eight_bit(picture).convert("RGB")
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise MediaError(path, f"more than {limit} million pixels; make it smaller or remove it") from error
    except UnidentifiedImageError as error:
        raise MediaError(path, "not a picture of a known kind; copy or convert it again") from error
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError is what Pillow raises for a broken PNG
        raise MediaError(path, f"damaged ({error}); copy or download it again") from error


def resized(picture: Image | NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Stretch the picture (an array is [H, W] or [H, W, 3]) to [height, width, C], bilinear with antialiasing: what
    torchvision's Resize makes of a Pillow image, to the bit."""
    from PIL import Image

    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def grey_levels(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scale pixels [H, W] or [H, W, 3] of any range to 0 .. 255, without clipping.

    The full scale is the smallest that holds them all: 255 or 65,535 for whole numbers, 1, 255 or 65,535 for
    floating-point ones; where none does, or a pixel is negative, the range of this picture. Raises ValueError for
    pixels that are not finite."""
    values = pixels.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not finite")
    low, high = float(values.min()), float(values.max())
    scales = (255, 65_535) if pixels.dtype.kind in "iu" else (1, 255, 65_535)
    fitting = [scale for scale in scales if low >= 0 and high <= scale]
    start, full = (0.0, float(fitting[0])) if fitting else (low, high - low)
    return np.rint((values - start) * (255 / (full or 1))).astype(np.uint8)


def _eight_bit(picture: Image) -> Image:
    """Scale greyscale of more than 8 bits: Pillow's own conversion clips it to white or black."""
    from PIL import Image

    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    pixels = np.asarray(picture)
    # Of a PGM Pillow gives whole numbers in 0 .. 65,535, whatever the file's own maximum is.
    sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM")
    return Image.fromarray((pixels >> 8).astype(np.uint8) if sixteen else grey_levels(pixels))


_COLOUR_PFM = re.compile(rb"PF\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s")
"""Width, height, and a scale whose sign tells the order of bytes."""


def _colour_pfm(path: Path, allow_truncated: bool) -> NDArray[np.uint8] | None:
    """Read a PFM file of three channels, which Pillow refuses, as it reads one of grey: numbers of single precision,
    the lowest row first. None for any other file."""
    from PIL import Image

    with path.open("rb") as file:
        found = _COLOUR_PFM.match(file.read(100))
        if found is None:
            return None
        width, height, scale = int(found[1]), int(found[2]), float(found[3])
        if width * height > (Image.MAX_IMAGE_PIXELS or np.inf):
            raise Image.DecompressionBombError
        wanted = 12 * width * height
        if not wanted or scale == 0 or not np.isfinite(scale):
            raise ValueError(f"a header of {width} x {height} pixels, scale {scale:g}")
        file.seek(found.end())
        content = file.read(wanted)
    if len(content) < wanted and not allow_truncated:
        raise OSError(f"{len(content)} of {wanted} bytes of pixels are there")
    pixels = np.frombuffer(content.ljust(wanted, b"\0"), "<f4" if scale < 0 else ">f4")
    return grey_levels(pixels.reshape(height, width, 3)[::-1])


@contextmanager
def _truncated(allowed: bool) -> Iterator[None]:
    from PIL import ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = allowed
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
