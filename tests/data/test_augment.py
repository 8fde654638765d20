from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data import _augment, _randaugment


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=seeded(seed), dtype=torch.uint8)


# Random resized crop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [8, 20, 32])
@pytest.mark.parametrize("box", [(0, 0, 24, 32), (3, 5, 16, 20), (10, 30, 2, 2), (7, 0, 1, 32)])
def test_a_crop_is_torchvisions_antialiased_resize_of_it(target: int, box: tuple[int, int, int, int]) -> None:
    from torchvision.transforms.v2 import functional as F

    images = noise(2, 3, 24, 32)
    boxes = torch.tensor([box, (0, 0, 24, 32)]) / torch.tensor([24, 32, 24, 32], dtype=torch.float64)
    found = _augment.crop(images, boxes, target)
    top, left, height, width = box
    part = images[:1, :, top : top + height, left : left + width]
    wanted = torch.cat([F.resize(picture, [target, target], antialias=True) for picture in (part, images[1:])])
    assert torch.equal(found, wanted.float())
    # The form of other devices computes with fractions of grey levels.
    exact = torch.cat([F.resize(picture.float(), [target, target], antialias=True) for picture in (part, images[1:])])
    pixels, flips = _augment._whole_pixels(boxes, 24, 32), torch.zeros(2, dtype=torch.bool)
    assert torch.allclose(_augment._crop_at_once(images, pixels, target, flips), exact, atol=2e-3)


def test_both_forms_of_a_crop_mirror_alike() -> None:
    images, flips = noise(3, 3, 16, 16), torch.tensor([True, False, True])
    boxes = _augment.draw_crops(torch.tensor([[16, 16]] * 3), torch.Generator().manual_seed(0))
    at_once = _augment._crop_at_once(images, _augment._whole_pixels(boxes, 16, 16), 8, flips)
    assert float((at_once - _augment.crop(images, boxes, 8, flips)).abs().max()) <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(1, 40), st.integers(1, 40))
def test_boxes_of_pixels_lie_within_the_picture(box: list[float], height: int, width: int) -> None:
    boxes = _augment._whole_pixels(torch.tensor([box], dtype=torch.float64), height, width)
    ((top, left, tall, wide),) = boxes.tolist()
    assert tall >= 1
    assert wide >= 1
    assert 0 <= top <= height - tall
    assert 0 <= left <= width - wide


def test_the_whole_picture_at_its_own_size_is_itself_and_two_flips_undo_each_other() -> None:
    images = noise(3, 2, 16, 16)
    boxes = _augment.whole(3)
    assert torch.equal(_augment.crop(images, boxes, 16), images.float())
    flips = torch.tensor([True, False, True])
    once = _augment.crop(images, boxes, 16, flips)
    assert torch.equal(once[[0, 2]], images[[0, 2]].float().flip(3))
    assert torch.equal(once[1], images[1].float())
    assert torch.equal(_augment.crop(once, boxes, 16, flips), images.float())


def test_a_crop_ignores_autocast() -> None:
    images, boxes = noise(2, 3, 16, 16), _augment.draw_crops(torch.tensor([[16, 16]] * 2), seeded())
    plain = _augment.crop(images, boxes, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(_augment.crop(images, boxes, 8), plain)


def test_crops_lie_inside_the_picture_on_whole_pixels() -> None:
    sizes = torch.tensor([[1, 1], [1, 5000], [5000, 1], [48, 64], [360, 480], [2, 3]]).repeat(200, 1)
    boxes = _augment.draw_crops(sizes, seeded()) * sizes.repeat(1, 2)
    assert torch.allclose(boxes, boxes.round(), atol=1e-9)
    top, left, height, width = boxes.round().unbind(1)
    assert (torch.stack([top, left]) >= 0).all()
    assert (torch.stack([height, width]) >= 1).all()
    assert (top + height <= sizes[:, 0]).all()
    assert (left + width <= sizes[:, 1]).all()
    assert torch.isfinite(_augment.crop(noise(len(sizes), 1, 8, 8), boxes / sizes.repeat(1, 2), 8)).all()


def test_crops_follow_torchvisions_law() -> None:
    from torchvision.transforms import RandomResizedCrop

    size, count = (360, 480), 4000
    ours = _augment.draw_crops(torch.tensor([size]).repeat(count, 1), seeded()) * torch.tensor([360, 480, 360, 480])
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
    boxes = _augment.draw_crops(torch.tensor([[10, 1000], [1000, 10]]), seeded(), scale=(1.0, 1.0))
    assert torch.allclose(boxes[0] * 1000, torch.tensor([0.0, 493.0, 1000.0, 13.0], dtype=torch.float64))
    assert torch.allclose(boxes[1] * 1000, torch.tensor([493.0, 0.0, 13.0, 1000.0], dtype=torch.float64))


def test_the_same_seed_draws_the_same() -> None:
    sizes = torch.tensor([[48, 64]] * 8)
    for draw in (
        lambda g: _augment.draw_crops(sizes, g),
        lambda g: _augment.draw_flips(64, g),
        lambda g: _augment.draw_spans(64, 100, 20, g),
        lambda g: _randaugment.draw_operations(64, g),
    ):
        assert torch.equal(draw(seeded(3)), draw(seeded(3)))
        assert not torch.equal(draw(seeded(3)), draw(seeded(4)))


def test_integers_reach_both_ends() -> None:
    assert set(_augment.draw_integers(500, 4, seeded()).tolist()) == {0, 1, 2, 3, 4}
    assert _augment.draw_integers(9, 0, seeded()).tolist() == [0] * 9


def test_half_the_pictures_are_flipped() -> None:
    assert 450 < _augment.draw_flips(1000, seeded()).sum() < 550


# SpecAugment --------------------------------------------------------------------------------------------------------


def test_spans_lie_within_the_axis() -> None:
    start, width = _augment.draw_spans(500, 12, 5, seeded()).unbind(1)
    assert set(width.tolist()) == set(range(6))
    assert (start >= 0).all()
    assert (start + width <= 12).all()
    assert (_augment.draw_spans(500, 4, 99, seeded())[:, 1] <= 4).all()


@pytest.mark.parametrize("axis", [2, 3])
def test_a_span_takes_the_samples_mean_and_the_rest_stays(axis: int) -> None:
    values = torch.randn(3, 1, 6, 7, generator=seeded())
    before = values.clone()
    found = _augment.mask(values, torch.tensor([[1, 2], [0, 0], [4, 2]]), axis)
    assert torch.equal(values, before)
    assert torch.equal(found[1], values[1])
    for sample, places in ((0, [1, 2]), (2, [4, 5])):
        rest = [place for place in range(values.shape[axis]) if place not in places]
        mean = values[sample].mean()
        assert torch.allclose(found[sample].select(axis - 1, places[0]), mean)
        assert torch.allclose(found[sample].select(axis - 1, places[1]), mean)
        kept = torch.tensor(rest)
        assert torch.equal(found[sample].index_select(axis - 1, kept), values[sample].index_select(axis - 1, kept))


# RandAugment --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "name"), list(enumerate(_randaugment.OPERATIONS)))
@pytest.mark.parametrize("reverse", [0, 1])
def test_each_operation_is_torchvisions(number: int, name: str, reverse: int) -> None:
    from torchvision.transforms import v2

    reference: Any = v2.RandAugment()
    theirs = {key.lower(): key for key in reference._AUGMENTATION_SPACE}[name.replace("_", "")]
    magnitudes, signed = reference._AUGMENTATION_SPACE[theirs]
    strengths = magnitudes(31, 40, 48)
    magnitude = 0.0 if strengths is None else float(strengths[7]) * (-1 if signed and reverse else 1)
    images = noise(2, 3, 40, 48) // 4 * 3 + 40
    expected = reference._apply_image_or_video_transform(images, theirs, magnitude, reference.interpolation, {})
    assert torch.equal(_randaugment.rand_augment(images, torch.tensor([[[number, reverse]]] * 2)), expected)
    assert (torch.equal(expected, images)) == (name == "identity")


def test_each_sample_gets_its_own_operations_in_order() -> None:
    images = noise(6, 3, 16, 16)
    operations = _randaugment.draw_operations(6, seeded(1))
    assert operations.shape == (6, 2, 2)
    before = images.clone()
    together = _randaugment.rand_augment(images, operations)
    assert torch.equal(images, before)
    alone = [_randaugment.rand_augment(images[k : k + 1], operations[k : k + 1]) for k in range(6)]
    assert torch.equal(together, torch.cat(alone))
    solarized = _randaugment.OPERATIONS.index("solarize")
    posterized = _randaugment.OPERATIONS.index("posterize")
    one, other = (
        _randaugment.rand_augment(images, torch.tensor([[[a, 0], [b, 0]]] * 6))
        for a, b in ((solarized, posterized), (posterized, solarized))
    )
    assert not torch.equal(one, other)


def test_every_operation_and_sign_is_drawn() -> None:
    drawn = _randaugment.draw_operations(2000, seeded()).flatten(0, 1)
    assert len(drawn.unique(dim=0)) == 2 * len(_randaugment.OPERATIONS)
    assert math.isclose(drawn[:, 1].double().mean().item(), 0.5, abs_tol=0.03)
