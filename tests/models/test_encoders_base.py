"""What every encoder has unless it says otherwise."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.encoders.base import AttentionOptions, Encoder, EncoderOptions, ShapeError, all_count, places


class Doubling(Encoder):
    """Gives back what it gets, twice as large."""

    name, Options, out_dim = "doubling", EncoderOptions, 3

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class Narrow(Doubling):
    """Takes three numbers alone."""

    name = "narrow"

    @classmethod
    def fits(cls, shape: tuple[int, ...], options: EncoderOptions) -> bool:
        return shape == (3,)

    @classmethod
    def takes(cls, options: EncoderOptions) -> str:
        return "[3]"


def test_an_encoder_takes_any_shape_has_no_stages_and_its_feature_as_its_only_token() -> None:
    encoder, x = Doubling(), torch.tensor([[1.0, 2.0, 3.0]])
    tokens, mask = encoder.tokens(x)
    assert (tokens.tolist(), mask.tolist()) == ([[[2, 4, 6]]], [[True]])
    assert (encoder.token_dim, encoder.reads_tokens) == (3, False)
    assert Doubling.fits((9, 9), None)
    assert (Doubling.misfit((9, 9), None), Doubling.takes(None), Doubling.stage_count(None)) == (None, "any shape", 0)
    assert Doubling.described_by() == EncoderOptions()
    assert torch.equal(encoder.blank(x), torch.zeros(1, 3))
    Doubling.require((9, 9), None)


def test_a_shape_that_does_not_fit_is_refused_with_what_does() -> None:
    Narrow.require((3,), None)
    with pytest.raises(ShapeError, match=r"^encoder narrow cannot take a sample of shape \[3, 4\]; it takes \[3\]$"):
        Narrow.require((3, 4), None)


def test_options_are_strict_and_weights_are_paths() -> None:
    assert not EncoderOptions().weights_may_be_elsewhere()
    with pytest.raises(ValidationError):
        EncoderOptions(width=3)  # type: ignore[call-arg]
    assert AttentionOptions(width=12, heads=4).width == 12
    with pytest.raises(ValidationError, match="5 heads do not divide a width of 12"):
        AttentionOptions(width=12, heads=5)


def test_every_token_counts_where_none_is_padding() -> None:
    tokens = torch.randn(2, 3, 4)
    found, mask = all_count(tokens)
    assert found is tokens
    assert (mask.shape, mask.dtype, bool(mask.all())) == ((2, 3), torch.bool, True)


def test_places_are_read_row_by_row_and_frame_after_frame() -> None:
    maps = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    pictures = places(maps, 2)
    assert pictures.shape == (2, 4, 3)
    for place, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        assert torch.equal(pictures[:, place], maps[:, :, row, column])
    clip = places(maps, 1)
    assert torch.equal(clip, pictures.flatten(0, 1)[None])
    assert places(maps[:0], 0).shape == (0, 4, 3)
