"""patch_transformer and vit: patches, positions, and what is computed of them."""

from __future__ import annotations

import pytest
import torch
from support.tiny_encoders import assert_shape_is_refused
from torch.nn import functional as F

from models.encoders import build, describe, pad_to_multiple, patchify
from models.positions import grid_sines, sines

close = torch.testing.assert_close


def test_zeros_fill_the_end_of_every_axis() -> None:
    x = torch.arange(1.0, 6).view(1, 1, 5)
    assert pad_to_multiple(x, 3).tolist() == [[[1, 2, 3, 4, 5, 0]]]
    assert pad_to_multiple(x, 5) is x
    image = torch.arange(1.0, 7).view(1, 1, 2, 3)
    assert pad_to_multiple(image, 2).tolist() == [[[[1, 2, 3, 0], [4, 5, 6, 0]]]]
    assert pad_to_multiple(image, 4).tolist() == [[[[1, 2, 3, 0], [4, 5, 6, 0], [0] * 4, [0] * 4]]]


def test_patches_of_arrays_are_in_the_order_of_time() -> None:
    x = torch.tensor([[[1.0, 2, 3], [4, 5, 6]]])
    assert patchify(x, 2).tolist() == [[[1, 2, 4, 5], [3, 0, 6, 0]]]


def test_patches_of_images_are_row_by_row() -> None:
    x = torch.arange(24.0).view(1, 2, 2, 6)
    first, second, third = [0, 1, 6, 7, 12, 13, 18, 19], [2, 3, 8, 9, 14, 15, 20, 21], [4, 5, 10, 11, 16, 17, 22, 23]
    assert patchify(x, 2).tolist() == [[first, second, third]]
    assert patchify(x.transpose(2, 3), 2)[0, :, 0].tolist() == [0, 2, 4]


@pytest.mark.parametrize(
    ("name", "shape", "table"),
    [
        ("patch_transformer", (3, 10), sines(torch.arange(3), 16)),
        ("vit", (3, 5, 12), grid_sines(2, 3, 16)),
    ],
)
def test_blocks_read_embedded_patches_with_their_positions(
    name: str, shape: tuple[int, ...], table: torch.Tensor
) -> None:
    torch.manual_seed(0)
    encoder = build({"name": name, "patch": 4, "width": 16, "depth": 2, "heads": 2}, shape)
    x = torch.randn(2, *shape)
    tokens = patchify(x, 4) @ encoder.embedding.weight.T + encoder.embedding.bias + table
    for block in encoder.blocks:
        tokens = block(tokens)
    expected = F.layer_norm(tokens, (16,))
    close(encoder.tokens(x)[0], expected)
    close(encoder(x), expected.mean(1))


@pytest.mark.parametrize(("name", "shape", "full"), [("patch_transformer", (3, 95), (3, 100)),
                                                     ("vit", (1, 7, 9), (1, 8, 12))])  # fmt: skip
def test_zeros_added_by_hand_change_nothing(name: str, shape: tuple[int, ...], full: tuple[int, ...]) -> None:
    short, long = build(name, shape), build(name, full)
    long.load_state_dict(short.state_dict())
    x = torch.randn(2, *shape)
    padded = torch.zeros(2, *full)
    padded[tuple(slice(size) for size in x.shape)] = x
    close(long(padded), short(x))


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "out_dim", "tokens", "stages"),
    [
        ("patch_transformer", (3, 100), 102_080, 64, [10, 64], None),
        ("patch_transformer", (6, 55), 104_000, 64, [6, 64], None),
        ("vit", (1, 28, 28), 201_152, 64, [49, 64], None),
        ("vit", (3, 8, 8), 203_200, 64, [4, 64], None),
    ],
)
def test_sizes_of_the_defaults_are_told_without_computing(
    name: str, shape: tuple[int, ...], parameters: int, out_dim: int, tokens: list[int], stages: list[int] | None
) -> None:
    found = describe(name, shape)
    assert found == {"parameters": parameters, "out_dim": out_dim, "tokens": tokens, "stages": stages}


@pytest.mark.parametrize(
    ("name", "shape", "takes"),
    [
        ("patch_transformer", (3, 3), r"\[C, T\] with T of at least 4, its option patch"),
        ("patch_transformer", (3, 8, 8), r"\[C, T\]"),
        ("vit", (3, 8, 3), r"\[C, H, W\] with H and W of at least 4, its option patch"),
        ("vit", (3, 8), r"\[C, H, W\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_those_that_do(name: str, shape: tuple[int, ...], takes: str) -> None:
    assert_shape_is_refused(name, shape, takes)
