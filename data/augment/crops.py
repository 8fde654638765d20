"""Random resized crops and flips of whole batches of images [N, C, H, W]."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from data.augment.draws import Range, uniform
from data.base.placement import moved

_TRIES = 10


def whole(count: int) -> Tensor:
    """Make boxes [count, 4] that crop nothing."""
    return torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64).repeat(count, 1)


def draw_crops(
    sizes: Tensor, generator: Generator, scale: Range = (0.08, 1.0), ratio: Range = (3 / 4, 4 / 3)
) -> Tensor:
    """Draw boxes [N, 4] (top, left, height, width) as shares of pictures of ``sizes`` [N, 2] (height, width) pixels.

    The law of torchvision's RandomResizedCrop: area uniform in ``scale``, width by height log-uniform in ``ratio``,
    whole pixels, the first of ten tries that fits, else the largest centred box whose ratio is allowed."""
    height, width = sizes.double().unsqueeze(-1).unbind(1)  # [N, 1] each
    area = height * width * uniform((len(sizes), _TRIES), scale, generator)
    shape = uniform((len(sizes), _TRIES), (math.log(ratio[0]), math.log(ratio[1])), generator).exp()
    tries = torch.stack([(area / shape).sqrt().round(), (area * shape).sqrt().round()], -1)
    fits = ((tries > 0) & (tries <= torch.cat([height, width], 1).unsqueeze(1))).all(-1)
    first = tries[torch.arange(len(sizes)), fits.int().argmax(1)]
    centred = torch.cat([height.minimum((width / ratio[0]).round()), width.minimum((height * ratio[1]).round())], 1)
    found = fits.any(1, keepdim=True)
    box = torch.where(found, first, centred)
    room = sizes - box
    corner = (uniform((len(sizes), 2), (0, 1), generator) * (room + 1)).floor()
    corner = torch.where(found, corner, (room / 2).floor())
    return torch.cat([corner, box], 1) / sizes.repeat(1, 2)


def draw_flips(count: int, generator: Generator) -> Tensor:
    """Draw bool [count], half of them true on average."""
    return torch.rand(count, generator=generator) < 0.5


def crop(images: Tensor, boxes: Tensor, size: int, flips: Tensor | None = None) -> Tensor:
    """Cut the ``boxes`` [N, 4] (shares of the picture, rounded to its pixels) of uint8 ``images`` resized to float32
    [N, C, size, size] in [0, 255], bilinear with antialiasing, and mirrored left to right where ``flips`` [N] says so.

    That is torchvision's antialiased resize of the crop, on the CPU to the same whole grey levels; on other devices,
    where a batch of boxes of all sizes has to be one computation, within one of them."""
    if images.device.type == "cpu":
        cropped = torch.empty(*images.shape[:2], size, size)
        for target, picture in zip(cropped, crop_each(images, boxes, size, flips), strict=True):
            target.copy_(picture)
        return cropped
    flips = torch.zeros(len(images), dtype=torch.bool) if flips is None else flips
    return _crop_at_once(images, _whole_pixels(boxes, *images.shape[-2:]), size, flips)


def crop_each(
    images: Sequence[Tensor] | Tensor, boxes: Tensor, size: int, flips: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield the crops of :func:`crop` one by one, uint8 [C, size, size] each, of ``images`` [C, H, W] of one size on
    the host, of which the boxes' pixels alone are read."""
    if not len(images):
        return
    found = _whole_pixels(boxes, *images[0].shape[-2:]).tolist()
    mirrored = [False] * len(found) if flips is None else flips.tolist()
    for image, (top, left, height, width), flip in zip(images, found, mirrored, strict=True):
        box = image[None, :, top : top + height, left : left + width]
        # Torch resizes whole numbers several times as fast as it multiplies matrices of weights, and pixels whose
        # channels lie beside each other twice as fast as others.
        box = box.contiguous(memory_format=torch.channels_last)
        picture = F.interpolate(box, (size, size), mode="bilinear", antialias=True)[0]
        yield picture.flip(-1) if flip else picture


def _whole_pixels(boxes: Tensor, height: int, width: int) -> Tensor:
    """Int64 [N, 4]: boxes of at least one pixel, within the picture."""
    edges = torch.tensor([height, width])
    sides = (boxes[:, 2:] * edges).round().long().clamp(min=1)
    return torch.cat([(boxes[:, :2] * edges).round().long().minimum(edges - sides), sides], 1)


def _crop_at_once(images: Tensor, boxes: Tensor, size: int, flips: Tensor) -> Tensor:
    """Resize by what is linear and separable: two products with a matrix of weights for each sample."""
    device, (height, width) = images.device, images.shape[-2:]
    top, left, tall, wide = moved(boxes.to(torch.float32), device).unbind(1)
    rows, columns = _weights(top, tall, height, size), _weights(left, wide, width, size)
    columns = torch.where(moved(flips, device)[:, None, None], columns.flip(1), columns)
    count, channels = images.shape[:2]
    # A method may ask for batches under autocast; pixels in bfloat16 would be noise.
    with torch.autocast(device.type, enabled=False):
        stretched = images.reshape(count, channels * height, width).float() @ columns.transpose(1, 2)
        return rows.unsqueeze(1) @ stretched.view(count, channels, height, size)


def _weights(start: Tensor, length: Tensor, source: int, target: int) -> Tensor:
    """[N, target, source]: what each of ``source`` pixels gives to each pixel of the resized interval."""
    scale = (length / target).unsqueeze(1)
    centres = start.unsqueeze(1) + (torch.arange(target, device=start.device) + 0.5) * scale
    pixels = torch.arange(source, device=start.device)
    inside = ((start + length).unsqueeze(1).minimum(pixels + 1) - start.unsqueeze(1).maximum(pixels)).clamp(0, 1)
    distance = (pixels + 0.5 - centres.unsqueeze(2)).abs() / scale.clamp(min=1).unsqueeze(2)
    weights = (1 - distance).clamp_(min=0) * inside.unsqueeze(1)
    return weights / weights.sum(2, keepdim=True)
