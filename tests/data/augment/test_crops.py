"""Crops and flips are torchvision's, on any device."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.device_waits import META

from data.augment import crops


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=seeded(seed), dtype=torch.uint8)


@pytest.mark.parametrize("target", [8, 20, 32])
@pytest.mark.parametrize("box", [(0, 0, 24, 32), (3, 5, 16, 20), (10, 30, 2, 2), (7, 0, 1, 32)])
def test_a_crop_is_torchvisions_antialiased_resize_of_it(target: int, box: tuple[int, int, int, int]) -> None:
    from torchvision.transforms.v2 import functional as F

    images = noise(2, 3, 24, 32)
    boxes = torch.tensor([box, (0, 0, 24, 32)]) / torch.tensor([24, 32, 24, 32], dtype=torch.float64)
    found = crops.crop(images, boxes, target)
    top, left, height, width = box
    part = images[:1, :, top : top + height, left : left + width]
    wanted = torch.cat([F.resize(picture, [target, target], antialias=True) for picture in (part, images[1:])])
    assert torch.equal(found, wanted.float())
    # The form of other devices computes with fractions of grey levels.
    exact = torch.cat([F.resize(picture.float(), [target, target], antialias=True) for picture in (part, images[1:])])
    pixels, flips = crops._whole_pixels(boxes, 24, 32), torch.zeros(2, dtype=torch.bool)
    assert torch.allclose(crops._crop_at_once(images, pixels, target, flips), exact, atol=2e-3)


def test_both_forms_of_a_crop_mirror_alike() -> None:
    images, flips = noise(3, 3, 16, 16), torch.tensor([True, False, True])
    boxes = crops.draw_crops(torch.tensor([[16, 16]] * 3), torch.Generator().manual_seed(0))
    at_once = crops._crop_at_once(images, crops._whole_pixels(boxes, 16, 16), 8, flips)
    assert float((at_once - crops.crop(images, boxes, 8, flips)).abs().max()) <= 1


@pytest.mark.parametrize("flips", [None, torch.tensor([True, False])])
def test_on_another_device_a_batch_is_one_computation(
    flips: torch.Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *given, **options: nullcontext())  # the device knows none
    images = noise(2, 3, 16, 20).to(META)
    found = crops.crop(images, torch.rand(2, 4, dtype=torch.float64), 8, flips)
    assert (found.shape, found.dtype, found.device) == ((2, 3, 8, 8), torch.float32, META)


def test_a_batch_may_be_one_picture_or_none() -> None:
    images = noise(1, 3, 16, 20)
    assert crops.whole(2).tolist() == [[0, 0, 1, 1]] * 2
    assert torch.equal(crops.crop(images[:, :, :, :16], crops.whole(1), 16), images[:, :, :, :16].float())
    assert crops.crop(images[:0], crops.whole(0), 8).shape == (0, 3, 8, 8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(1, 40), st.integers(1, 40))
def test_boxes_of_pixels_lie_within_the_picture(box: list[float], height: int, width: int) -> None:
    boxes = crops._whole_pixels(torch.tensor([box], dtype=torch.float64), height, width)
    ((top, left, tall, wide),) = boxes.tolist()
    assert tall >= 1
    assert wide >= 1
    assert 0 <= top <= height - tall
    assert 0 <= left <= width - wide


def test_the_whole_picture_at_its_own_size_is_itself_and_two_flips_undo_each_other() -> None:
    images = noise(3, 2, 16, 16)
    boxes = crops.whole(3)
    assert torch.equal(crops.crop(images, boxes, 16), images.float())
    flips = torch.tensor([True, False, True])
    once = crops.crop(images, boxes, 16, flips)
    assert torch.equal(once[[0, 2]], images[[0, 2]].float().flip(3))
    assert torch.equal(once[1], images[1].float())
    assert torch.equal(crops.crop(once, boxes, 16, flips), images.float())


def test_a_crop_ignores_autocast() -> None:
    images, boxes = noise(2, 3, 16, 16), crops.draw_crops(torch.tensor([[16, 16]] * 2), seeded())
    plain = crops.crop(images, boxes, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(crops.crop(images, boxes, 8), plain)


def test_crops_lie_inside_the_picture_on_whole_pixels() -> None:
    sizes = torch.tensor([[1, 1], [1, 5000], [5000, 1], [48, 64], [360, 480], [2, 3]]).repeat(200, 1)
    boxes = crops.draw_crops(sizes, seeded()) * sizes.repeat(1, 2)
    assert torch.allclose(boxes, boxes.round(), atol=1e-9)
    top, left, height, width = boxes.round().unbind(1)
    assert (torch.stack([top, left]) >= 0).all()
    assert (torch.stack([height, width]) >= 1).all()
    assert (top + height <= sizes[:, 0]).all()
    assert (left + width <= sizes[:, 1]).all()
    assert torch.isfinite(crops.crop(noise(len(sizes), 1, 8, 8), boxes / sizes.repeat(1, 2), 8)).all()


def test_crops_follow_torchvisions_law() -> None:
    from torchvision.transforms import RandomResizedCrop

    size, count = (360, 480), 4000
    ours = crops.draw_crops(torch.tensor([size]).repeat(count, 1), seeded()) * torch.tensor([360, 480, 360, 480])
    torch.manual_seed(0)
    picture = torch.zeros(1, *size)
    theirs = torch.tensor(
        [RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)], dtype=torch.float64
    )

    def facts(boxes: torch.Tensor) -> torch.Tensor:
        top, left, height, width = boxes.unbind(1)
        values = torch.stack([top, left, height, width, height * width / 1e3, 100 * (width / height).log()])
        return torch.cat([values.mean(1), values.std(1)])

    assert torch.allclose(facts(ours), facts(theirs), rtol=0.08, atol=2.0)


def test_a_picture_too_flat_for_any_try_gives_the_centred_box() -> None:
    boxes = crops.draw_crops(torch.tensor([[10, 1000], [1000, 10]]), seeded(), scale=(1.0, 1.0))
    assert torch.allclose(boxes[0] * 1000, torch.tensor([0.0, 493.0, 1000.0, 13.0], dtype=torch.float64))
    assert torch.allclose(boxes[1] * 1000, torch.tensor([493.0, 0.0, 13.0, 1000.0], dtype=torch.float64))


@pytest.mark.parametrize("fitting", [0, 3, 9, None])
def test_the_first_of_ten_tries_that_fits_is_taken_else_the_centred_box(
    fitting: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a flat picture as a square does not fit into it; a hundredth does."""

    def drawn(shape: tuple[int, ...], limits: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
        if limits[1] == 1.0 and shape[1] != 2:
            assert shape == (1, 10)
            areas = torch.full(shape, 0.5, dtype=torch.float64)
            if fitting is not None:
                areas[:, fitting:] = 0.01
            return areas
        return torch.zeros(shape, dtype=torch.float64)  # squares, in the first corner

    monkeypatch.setattr(crops, "uniform", drawn)
    (box,) = crops.draw_crops(torch.tensor([[10, 1000]]), seeded()) * torch.tensor([10, 1000, 10, 1000])
    assert box.tolist() == pytest.approx([0, 0, 10, 10] if fitting is not None else [0, 493, 10, 13])


def test_half_the_pictures_are_flipped() -> None:
    assert 450 < crops.draw_flips(1000, seeded()).sum() < 550
