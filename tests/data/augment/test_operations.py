"""RandAugment is torchvision's, for batches of unlike samples."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from data.augment.operations import OPERATIONS, draw_operations, rand_augment


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=seeded(seed), dtype=torch.uint8)


@pytest.mark.parametrize(("number", "name"), list(enumerate(OPERATIONS)))
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
    assert torch.equal(rand_augment(images, torch.tensor([[[number, reverse]]] * 2)), expected)
    assert (torch.equal(expected, images)) == (name == "identity")


@pytest.mark.parametrize("reverse", [0, 1])
def test_a_wide_or_high_picture_is_shifted_by_torchvisions_pixels(reverse: int) -> None:
    from torchvision.transforms.v2 import functional as F

    pixels = int(7 / 30 * 150 / 331 * 1658) * (-1 if reverse else 1)
    wide = noise(1, 3, 4, 1658)
    for name, images, shift in (("translate_x", wide, [pixels, 0]), ("translate_y", wide.mT, [0, pixels])):
        expected = F.affine(images, angle=0.0, translate=shift, scale=1.0, shear=[0.0, 0.0])
        drawn = torch.tensor([[[OPERATIONS.index(name), reverse]]])
        assert torch.equal(rand_augment(images, drawn), expected)


def test_each_sample_gets_its_own_operations_in_order() -> None:
    images = noise(6, 3, 16, 16)
    operations = draw_operations(6, seeded(1))
    assert operations.shape == (6, 2, 2)
    before = images.clone()
    together = rand_augment(images, operations)
    assert torch.equal(images, before)
    alone = [rand_augment(images[k : k + 1], operations[k : k + 1]) for k in range(6)]
    assert torch.equal(together, torch.cat(alone))
    solarized = OPERATIONS.index("solarize")
    posterized = OPERATIONS.index("posterize")
    one, other = (
        rand_augment(images, torch.tensor([[[a, 0], [b, 0]]] * 6))
        for a, b in ((solarized, posterized), (posterized, solarized))
    )
    assert not torch.equal(one, other)


def test_every_operation_and_sign_is_drawn() -> None:
    drawn = draw_operations(2000, seeded()).flatten(0, 1)
    assert len(drawn.unique(dim=0)) == 2 * len(OPERATIONS)
    assert math.isclose(drawn[:, 1].double().mean().item(), 0.5, abs_tol=0.03)
