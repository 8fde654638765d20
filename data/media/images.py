"""Pictures as RGB, by Pillow."""

from __future__ import annotations

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
    its first picture, and an EXIF orientation is not applied (the papers' loaders do not apply it either).

    allow_truncated: what is missing of a broken-off file becomes grey or black. Raises MediaError for a file that is
    missing, empty, a Git LFS pointer, no picture, truncated (unless allowed), or of so many pixels that Pillow takes it
    for an attack."""
    from PIL import Image, UnidentifiedImageError

    require_file(path)
    try:
        with warnings.catch_warnings(), _truncated(allow_truncated):
            warnings.simplefilter("ignore")  # about unused metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
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
    """Stretch the picture (an array is [H, W] or [H, W, 3]) to [C, height, width], bilinear with antialiasing:
    what torchvision's Resize makes of a Pillow image, to the bit."""
    from PIL import Image

    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bit(picture: Image) -> Image:
    """Convert greyscale of 16 bits to its upper eight: Pillow's own conversion makes most of it white."""
    from PIL import Image

    if not picture.mode.startswith("I;16"):
        return picture
    return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))


@contextmanager
def _truncated(allowed: bool) -> Iterator[None]:
    from PIL import ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = allowed
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
