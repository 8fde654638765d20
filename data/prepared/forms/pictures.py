"""Pictures: single ones, and the frames of clips.

Pixels are stored with their channels last, as Pillow gives them. Training arrays hold whole pictures, stretched to a
square of ``stored_size``, with the size they had: a random resized crop is drawn in the picture's own pixels. Other
arrays hold what evaluation needs, to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from data.augment.crops import crop, crop_each, draw_crops, draw_flips, whole
from data.augment.draws import Range, uniform
from data.augment.operations import draw_operations, rand_augment
from data.base import SampleType
from data.media import MediaError
from data.media.images import read_image, resized
from data.media.video import read_frames
from data.prepared.forms.base import Arrays, Form, Stored
from data.prepared.forms.columns import ArrayColumn, Device, assembled, on_host
from data.prepared.lists.items import Medium, SplitName

Colour = tuple[float, float, float]
IMAGENET: tuple[Colour, Colour] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation of red, green and blue in [0, 1]."""
STANDARDS: Mapping[str, tuple[Colour, Colour]] = {
    "imagenet": IMAGENET,
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "m3ae": ((0.5762, 0.5503, 0.5213), (0.3207, 0.3169, 0.3307)),
}
GREY = 128


def standardise(pixels: Tensor, mean: Colour, std: Colour) -> Tensor:
    """Turn ``pixels`` float [N, 3, ...] in [0, 255] into (pixels / 255 - mean) / std, in place."""
    shape = (3, *[1] * (pixels.ndim - 2))
    factor, shift = _standard(mean, std, pixels.device)
    return pixels.mul_(factor.view(shape)).sub_(shift.view(shape))


@cache
def _standard(mean: Colour, std: Colour, device: torch.device) -> tuple[Tensor, Tensor]:
    """Make factor and shift [3] of a standard, once a device: a batch that copied them there would wait for it."""
    centre, deviation = (torch.tensor(c, device=device) for c in (mean, std))
    return 1 / (255 * deviation), centre / deviation


def channels_first(pictures: Tensor) -> Tensor:
    """View pictures [N, H, W, 3], as they are stored, as [N, 3, H, W]."""
    return pictures.permute(0, 3, 1, 2)


def middles(count: int, segments: int) -> list[int]:
    """Pick the middle one of ``count`` frames in each of as many equal ``segments``."""
    return [(2 * segment + 1) * count // (2 * segments) for segment in range(segments)]


def _views(sizes: Tensor, generator: Generator, scale: Range | None, flip: bool) -> tuple[Tensor, Tensor | None]:
    """Draw boxes [N, 4] and, where pictures are flipped, which of them."""
    boxes = whole(len(sizes)) if scale is None else draw_crops(sizes, generator, scale)
    return boxes, draw_flips(len(sizes), generator) if flip else None


@dataclass(frozen=True, kw_only=True)
class Image(Form):
    """A picture, served as float32 [3, size, size] in [0, 1], standardised as ``normalise`` says (null: not).

    Training: random resized crop (``crop_scale``: share of the picture's area; null: the whole picture), flip, and two
    operations of RandAugment of strength 7 of 30. Evaluation: stretched to the square. allow_truncated: a broken-off
    file is used as far as it goes. grey_if_unreadable: a file that cannot be used becomes a grey picture, and the
    dataset's notes count it."""

    version: ClassVar[int] = 2
    served: ClassVar[frozenset[str]] = frozenset(
        {"size", "stored_size", "normalise", "crop_scale", "flip", "randaugment"}
    )

    size: int = 224
    stored_size: int = 256
    normalise: Literal["imagenet", "clip", "m3ae"] | None = "imagenet"
    crop_scale: tuple[float, float] | None = (0.08, 1.0)
    flip: bool = True
    randaugment: bool = False
    allow_truncated: bool = True
    grey_if_unreadable: bool = False

    @property
    def augmented(self) -> bool:
        return self.crop_scale is not None or self.flip or self.randaugment

    def sample(self) -> SampleType:
        return SampleType((3, self.size, self.size))

    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        edge = self.stored_size if split == "train" else self.size
        arrays = {"picture": Stored("uint8", (edge, edge, 3)), "grey": Stored("bool", (1,))}
        return arrays | ({"size": Stored("int32", (2,))} if split == "train" else {})

    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        assert isinstance(medium, Path)
        edge = self.stored_size if split == "train" else self.size
        grey, size = False, (edge, edge)
        try:
            picture = read_image(medium, self.allow_truncated)
            pixels, size = resized(picture, edge, edge), (picture.height, picture.width)
        except MediaError:
            if not self.grey_if_unreadable:
                raise
            grey, pixels = True, np.full((edge, edge, 3), GREY, np.uint8)
        arrays: Arrays = {"picture": pixels, "grey": np.array([grey])}
        return arrays | ({"size": np.array(size, np.int32)} if split == "train" else {})

    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> ImageColumn:
        return ImageColumn(self, arrays, rows, split == "train", self.sample().shape)

    def remarks(self, arrays: Mapping[str, Tensor], rows: Tensor) -> Iterator[tuple[int, str]]:
        yield int(arrays["grey"][rows].sum()), "are grey, unreadable"


@dataclass(frozen=True, eq=False)
class ImageColumn(ArrayColumn[Image]):
    """Serves :class:`Image`."""

    facts = frozenset({"size", "grey"})

    def gather(self, index: Tensor, device: Device) -> Tensor:
        form, stored = self.form, self.arrays["picture"]
        if self.training and form.size != form.stored_size:
            return self._cropped(index, device, whole(len(index)))
        if on_host(stored, device):
            return assembled((len(index), *self.shape), self._pictures(index), self._finish)
        pictures = channels_first(self.take("picture", device, index))
        return self._finish(pictures.to(torch.float32, memory_format=torch.contiguous_format))

    def draw(self, index: Tensor, device: Device, generator: Generator, part: slice = slice(None)) -> Tensor:
        if not (self.training and self.form.augmented):
            return self.gather(index[part], device)
        form = self.form
        boxes, flips = _views(self.fact("size", index), generator, form.crop_scale, form.flip)
        boxes, flips = boxes[part], None if flips is None else flips[part]
        if not form.randaugment:
            return self._cropped(index[part], device, boxes, flips)
        operations = draw_operations(len(index), generator)[part]
        pictures = crop(channels_first(self.take("picture", device, index[part])), boxes, form.size, flips)
        return self._finish(rand_augment(pictures.round_().clamp_(0, 255).byte(), operations).float())

    def _cropped(self, index: Tensor, device: Device, boxes: Tensor, flips: Tensor | None = None) -> Tensor:
        if on_host(self.arrays["picture"], device):
            crops = crop_each(self._pictures(index), boxes, self.form.size, flips)
            return assembled((len(index), *self.shape), crops, self._finish)
        return self._finish(crop(channels_first(self.take("picture", device, index)), boxes, self.form.size, flips))

    def _pictures(self, index: Tensor) -> list[Tensor]:
        """Find the pictures [3, H, W] at ``index`` on the host, where they are stored."""
        stored = self.arrays["picture"]
        return [stored[row].permute(2, 0, 1) for row in self.located(index).tolist()]

    def _finish(self, pixels: Tensor) -> Tensor:
        if self.form.normalise is None:
            return pixels.div_(255)
        return standardise(pixels, *STANDARDS[self.form.normalise])


@dataclass(frozen=True, kw_only=True)
class Frames(Form):
    """Frames of a clip, served as float32 [3, frames, size, size], standardised by mean and std.

    The medium is the sorted pictures of a folder, or a video file of which ``rate`` frames a second are taken.
    Training: one random frame of each of as many equal segments; each frame has its own random resized crop and flip,
    as in the papers. Evaluation: the middle frame of each segment, stretched to the square. A clip of fewer frames
    than are served repeats some; one of fewer than ``least`` is refused. most: frames kept for training, evenly
    spread."""

    version: ClassVar[int] = 2
    served: ClassVar[frozenset[str]] = frozenset({"size", "stored_size", "mean", "std", "random_crop", "flip"})

    frames: int
    size: int = 224
    stored_size: int = 256
    rate: float = 1.0
    most: int = 10
    least: int = 1
    mean: Colour = IMAGENET[0]
    std: Colour = IMAGENET[1]
    random_crop: bool = True
    flip: bool = True

    def sample(self) -> SampleType:
        return SampleType((3, self.frames, self.size, self.size))

    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        if split != "train":
            return {"frames": Stored("uint8", (self.frames, self.size, self.size, 3))}
        return {
            "frames": Stored("uint8", (self.most, self.stored_size, self.stored_size, 3)),
            "count": Stored("int32", (1,)),
            "size": Stored("int32", (2,)),
        }

    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        assert isinstance(medium, Path | tuple)
        found = medium if isinstance(medium, tuple) else self._read(medium)
        if len(found) < max(1, self.least):
            name = medium if isinstance(medium, Path) else (medium[0].parent if medium else "a clip")
            raise MediaError(name, f"{len(found)} frames, at least {max(1, self.least)} are needed")
        if split != "train":
            frames, _ = _resized(found, middles(len(found), self.frames), self.size)
            return {"frames": frames}
        frames, size = _resized(found, middles(len(found), min(len(found), self.most)), self.stored_size)
        return {"frames": frames, "count": np.array([len(frames)], np.int32), "size": np.array(size, np.int32)}

    def _read(self, path: Path) -> Sequence[NDArray[np.uint8]]:
        return list(read_frames(path, self.rate))

    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> FramesColumn:
        return FramesColumn(self, arrays, rows, split == "train", self.sample().shape)


def _resized(
    found: Sequence[Path] | Sequence[NDArray[np.uint8]], positions: Sequence[int], edge: int
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Give the pictures at ``positions`` as squares [n, edge, edge, 3], and height and width of the first."""
    chosen = [found[position] for position in positions]
    pictures = [read_image(picture) if isinstance(picture, Path) else picture for picture in chosen]
    first = np.asarray(pictures[0])
    return np.stack([resized(picture, edge, edge) for picture in pictures]), (first.shape[0], first.shape[1])


@dataclass(frozen=True, eq=False)
class FramesColumn(ArrayColumn[Frames]):
    """Serves :class:`Frames`."""

    facts = frozenset({"count", "size"})

    def gather(self, index: Tensor, device: Device) -> Tensor:
        if self.training:
            places = self._places(index, torch.full((len(index), self.form.frames), 0.5))
            return self._cropped(index, places, device, whole(places.numel()))
        stored = self.arrays["frames"]
        if on_host(stored, device):
            pictures = (frame.permute(2, 0, 1) for row in self.located(index).tolist() for frame in stored[row])
            shape = (len(index) * self.form.frames, 3, self.form.size, self.form.size)
            return self._by_channel(assembled(shape, pictures, self._finish))
        frames = channels_first(self.take("frames", device, index).flatten(0, 1))
        return self._by_channel(self._finish(frames.to(torch.float32, memory_format=torch.contiguous_format)))

    def draw(self, index: Tensor, device: Device, generator: Generator, part: slice = slice(None)) -> Tensor:
        if not self.training:
            return self.gather(index[part], device)
        form, each = self.form, (len(index), self.form.frames)
        places = self._places(index, uniform(each, (0, 1), generator))
        sizes = self.fact("size", index).repeat_interleave(form.frames, 0)
        boxes, flips = _views(sizes, generator, (0.08, 1.0) if form.random_crop else None, form.flip)
        boxes = boxes.view(*each, 4)[part].flatten(0, 1)
        flips = None if flips is None else flips.view(each)[part].flatten()
        return self._cropped(index[part], places[part], device, boxes, flips)

    def _cropped(
        self, index: Tensor, places: Tensor, device: Device, boxes: Tensor, flips: Tensor | None = None
    ) -> Tensor:
        """Serve the frames at ``places`` [b, T] of the clips at ``index``, cropped. boxes: [b T, 4]; flips: [b T]."""
        stored, size = self.arrays["frames"], self.form.size
        if on_host(stored, device):
            rows = self.located(index).unsqueeze(1).expand_as(places)
            each = zip(rows.flatten().tolist(), places.flatten().tolist(), strict=True)
            pictures = [stored[row, place].permute(2, 0, 1) for row, place in each]
            crops = crop_each(pictures, boxes, size, flips)
            frames = assembled((len(pictures), 3, size, size), crops, self._finish)
        else:
            frames = channels_first(self.take("frames", device, index.unsqueeze(1), places).flatten(0, 1))
            frames = self._finish(crop(frames, boxes, size, flips))
        return self._by_channel(frames)

    def _places(self, index: Tensor, within: Tensor) -> Tensor:
        """Choose frames [B, T], one a segment, at the share ``within`` [B, T] of each."""
        count = self.fact("count", index)
        segments = torch.arange(self.form.frames)
        return ((segments + within) * count / self.form.frames).long().minimum(count - 1)

    def _finish(self, frames: Tensor) -> Tensor:
        return standardise(frames, self.form.mean, self.form.std)

    def _by_channel(self, frames: Tensor) -> Tensor:
        """View frames [B T, 3, H, W] as clips [B, 3, T, H, W]."""
        return frames.unflatten(0, (-1, self.form.frames)).transpose(1, 2)
