"""Clips of gestures: colour, depth, and the optical flow of colour, with one crop for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from data.base import SampleType
from data.base.placement import moved
from data.media import MediaError
from data.media.flow import farneback
from data.media.images import resized
from data.media.video import read_window
from data.prepared.forms.base import Arrays, Form, Stored
from data.prepared.forms.columns import ArrayColumn, Device, assembled, on_host, sent
from data.prepared.forms.pictures import IMAGENET, standardise
from data.prepared.lists.items import Clip, Medium, SplitName

STREAM = "gesture"
GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
"""Of red, green and blue (ITU-R BT.601)."""


def read_clip(clip: Clip, frames: int, edge: int) -> NDArray[np.uint8]:
    """Read the clip's window stretched to [frames, 3, edge, edge]. Raises MediaError where it has another length."""
    if clip.end - clip.start != frames:
        raise MediaError(clip.path, f"a window of {clip.end - clip.start} frames, expected {frames}")
    pictures = [resized(frame, edge, edge) for frame in read_window(clip.path, clip.start, clip.end)]
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))


def centre(values: NDArray[np.generic], size: int) -> NDArray[np.generic]:
    """Cut out the middle ``size`` rows and columns of [..., H, W]."""
    top, left = ((edge - size) // 2 for edge in values.shape[-2:])
    return values[..., top : top + size, left : left + size]


def draw_corners(count: int, starts: int, room: int, generator: Generator) -> Tensor:
    """Int64 [count, 3]: first frame (0 to ``starts``), top and left (0 to ``room``). One draw for all three, so that
    columns of one stream agree on the corner whatever they do about the first frame."""
    bounds = torch.tensor([starts, room, room]) + 1
    return (torch.rand((count, 3), generator=generator, dtype=torch.float64) * bounds).long()


def crops(stored: Tensor, frames: int, size: int) -> Tensor:
    """Make a view of every crop of ``frames`` x ``size`` x ``size`` of clips [n, T, C, H, W], by its corner: [n,
    starts, C, tops, lefts, frames, size, size]. A gather from it reads the wanted ones alone, from a map too."""
    return stored.unfold(1, frames, 1).unfold(3, size, 1).unfold(4, size, 1)


def clips_on(
    device: Device, stored: Tensor, shape: tuple[int, ...], clips: Iterable[Tensor], finish: Callable[[Tensor], Tensor]
) -> Tensor:
    """Make a batch [b, C, T, H, W] on a device of ``clips`` [T, C, H, W], cut out of what the host has ``stored``; they
    stay in that order in memory. shape: (b, T, C, H, W); finish: see :func:`assembled`."""
    if not on_host(stored, device):
        return finish(sent(shape, stored.dtype, clips, device).transpose(1, 2))
    return assembled(shape, clips, lambda clip: finish(clip.transpose(1, 2))).transpose(1, 2)


def whole_clips(column: ArrayColumn[Any], index: Tensor, device: Device, finish: Callable[[Tensor], Tensor]) -> Tensor:
    """Serve clips [b, C, T, H, W] as they are stored. finish: see :func:`assembled`."""
    stored = column.arrays["clip"]
    if not on_host(stored):
        return finish(column.take("clip", device, index).transpose(1, 2))
    clips = (stored[row] for row in column.located(index).tolist())
    return clips_on(device, stored, (len(index), *stored.shape[1:]), clips, finish)


@dataclass(frozen=True, kw_only=True)
class GestureClip(Form):
    """A window of ``frames + start_range`` frames of a video, stretched to squares of ``stored_size``.

    Training: float32 [channels, frames, size, size] from a random first frame and corner, the same for all columns of
    the stream ``gesture``; no flip, which would make left gestures right ones. Evaluation: all frames, the centre.
    Three channels are standardised by ImageNet's mean and deviation; one (the first of the picture: depth) is in
    [0, 1]."""

    channels: Literal[1, 3] = 3
    frames: int = 64
    start_range: int = 16
    stored_size: int = 256
    size: int = 224

    @property
    def length(self) -> int:
        return self.frames + self.start_range

    def sample(self) -> SampleType:
        return SampleType((self.channels, self.frames, self.size, self.size))

    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        edge = self.stored_size if split == "train" else self.size
        return {"clip": Stored("uint8", (self.length, self.channels, edge, edge))}

    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        assert isinstance(medium, Clip)
        clip = read_clip(medium, self.length, self.stored_size)[:, : self.channels]
        return {"clip": np.ascontiguousarray(clip if split == "train" else centre(clip, self.size))}

    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> GestureColumn:
        shape = (self.channels, self.frames if split == "train" else self.length, self.size, self.size)
        return GestureColumn(self, arrays, rows, split == "train", shape)


@dataclass(frozen=True, kw_only=True)
class Flow(Form):
    """Optical flow of a window of ``frames`` frames, computed on squares of ``stored_size``: float32
    [2, frames, size, size], displacement along x and y from each frame to the next; the last one is repeated, so that
    there are as many as frames. Pixels are cut to ``bound`` and divided by it: in [-1, 1], as I3D was pretrained.

    Training: a random corner, the one of the other columns of the stream ``gesture``, all frames. Evaluation: the
    centre. levels, window, iterations: Farneback's, see :func:`data.media.flow.farneback`."""

    method: Literal["farneback"] = "farneback"
    frames: int = 80
    stored_size: int = 256
    size: int = 224
    bound: float = 20.0
    levels: int = 3
    window: int = 15
    iterations: int = 3

    def sample(self) -> SampleType:
        return SampleType((2, self.frames, self.size, self.size))

    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        edge = self.stored_size if split == "train" else self.size
        return {"clip": Stored("float16", (self.frames, 2, edge, edge))}

    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        assert isinstance(medium, Clip)
        colour = read_clip(medium, self.frames, self.stored_size)
        grey = np.einsum("tchw,c->thw", colour, GREY_WEIGHTS).round().astype(np.uint8)
        flow = farneback(grey, self.levels, self.window, self.iterations)
        flow = np.concatenate([flow, flow[-1:]]).astype(np.float16)
        return {"clip": np.ascontiguousarray(flow if split == "train" else centre(flow, self.size))}

    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> FlowColumn:
        return FlowColumn(self, arrays, rows, split == "train", self.sample().shape)


@dataclass(frozen=True, eq=False)
class GestureColumn(ArrayColumn[GestureClip]):
    """Serves :class:`GestureClip`. The evaluation form of a training sample has the frames in the middle, as many as
    a training batch."""

    stream = STREAM

    def gather(self, index: Tensor, device: Device) -> Tensor:
        form = self.form
        if not self.training:
            return whole_clips(self, index, device, self._finish)
        middle = torch.tensor([form.start_range // 2] + 2 * [(form.stored_size - form.size) // 2])
        return self._cut(index, middle.expand(len(index), 3), device)

    def draw(self, index: Tensor, device: Device, generator: Generator, part: slice = slice(None)) -> Tensor:
        form = self.form
        if not self.training:
            return self.gather(index[part], device)
        corners = draw_corners(len(index), form.start_range, form.stored_size - form.size, generator)
        return self._cut(index[part], corners[part], device)

    def _cut(self, index: Tensor, corners: Tensor, device: Device) -> Tensor:
        stored, frames, size = self.arrays["clip"], self.form.frames, self.form.size
        if on_host(stored):
            places = zip(self.located(index).tolist(), corners.tolist(), strict=True)
            cut = (
                stored[row, start : start + frames, :, top : top + size, left : left + size]
                for row, (start, top, left) in places
            )
            return clips_on(device, stored, (len(index), frames, self.form.channels, size, size), cut, self._finish)
        start, top, left = moved(corners, stored.device).unbind(1)
        view = crops(stored, frames, size)
        return self._finish(view[self.located(index, stored.device), start, :, top, left])

    def _finish(self, clip: Tensor) -> Tensor:
        return standardise(clip.float(), *IMAGENET) if self.form.channels == 3 else clip.float().div_(255)


@dataclass(frozen=True, eq=False)
class FlowColumn(ArrayColumn[Flow]):
    """Serves :class:`Flow`."""

    stream = STREAM

    def gather(self, index: Tensor, device: Device) -> Tensor:
        if not self.training:
            return whole_clips(self, index, device, self._finish)
        middle = torch.full((len(index),), (self.form.stored_size - self.form.size) // 2)
        return self._cut(index, middle, middle, device)

    def draw(self, index: Tensor, device: Device, generator: Generator, part: slice = slice(None)) -> Tensor:
        if not self.training:
            return self.gather(index[part], device)
        corners = draw_corners(len(index), 0, self.form.stored_size - self.form.size, generator)[part]
        return self._cut(index[part], corners[:, 1], corners[:, 2], device)

    def _cut(self, index: Tensor, top: Tensor, left: Tensor, device: Device) -> Tensor:
        stored, size = self.arrays["clip"], self.form.size
        if on_host(stored):
            places = zip(self.located(index).tolist(), top.tolist(), left.tolist(), strict=True)
            cut = (stored[row, :, :, t : t + size, x : x + size] for row, t, x in places)
            return clips_on(device, stored, (len(index), self.form.frames, 2, size, size), cut, self._finish)
        view = crops(stored, self.form.frames, size)[:, 0]
        rows, top, left = self.located(index, stored.device), moved(top, stored.device), moved(left, stored.device)
        return self._finish(view[rows, :, top, left])

    def _finish(self, flow: Tensor) -> Tensor:
        return flow.float().clamp_(-self.form.bound, self.form.bound).div_(self.form.bound)
