"""Encoders of texts: padding counts for nothing, and tokens belong to a vocabulary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny_encoders import TINY, samples, tiny
from torch.nn import functional as F

from models import encoders
from models.encoders._text import TextEncoder, never_empty, pairs

TEXTS = ["bert", "clip_text", "m3ae_text"]


@pytest.mark.parametrize("name", TEXTS)
def test_tokens_of_padding_do_not_count(name: str) -> None:
    x = samples(name)
    own = F.pad(x[:, 1].bool(), (1, 0), value=True) if name == "m3ae_text" else x[:, 1].bool()
    assert torch.equal(tiny(name).tokens(x)[1], own)
    assert not own.all()


@pytest.mark.parametrize("name", TEXTS)
def test_tokens_of_another_vocabulary_are_named(name: str) -> None:
    encoder, x = tiny(name), samples(name)
    x[1, 0, 1] = 50
    with pytest.raises(ValueError, match=f"encoder {name}: token id 50 is outside its vocabulary of 50; the tokenizer"):
        encoder(x)
    x[1, 0, 1] = -1
    with pytest.raises(ValueError, match="token id -1"):
        encoder(x)


@pytest.mark.parametrize("name", TEXTS)
def test_what_stands_at_padding_does_not_count(name: str) -> None:
    encoder, x = tiny(name).eval(), samples(name, 4)
    padding = x[:, 1] == 0
    assert padding.any()
    other = x.clone()
    other[:, 0][padding] = 7
    expected = encoder(x)
    assert torch.equal(encoder(other), expected)
    unmasked = x.clone()
    unmasked[:, 1] = 1
    changed = (encoder(unmasked) - expected).abs().amax(1) > 1e-4
    # CLIP's tokens see only those before them, so that padding behind the last one counts for nothing.
    assert changed.tolist() == (padding.any(1) & (name != "clip_text")).tolist()


@pytest.mark.parametrize("name", ["bert", "m3ae_text"])
def test_the_length_that_texts_are_padded_to_does_not_count(name: str) -> None:
    spec = {"name": name, **TINY[name][0]}
    short, long = encoders.build(spec, (2, 6)).eval(), encoders.build(spec, (2, 10)).eval()
    long.load_state_dict(short.state_dict())
    x = samples(name)[:, :, :6]
    padded = torch.nn.functional.pad(x, (0, 4))
    torch.testing.assert_close(long(padded), short(x))


# Shapes and masks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((2, 1), True),
        ((2, 5), True),
        ((2, 6), False),
        ((2, 0), False),
        ((3, 5), False),
        ((2, 5, 1), False),
        ((2,), False),
    ],
)
def test_a_text_is_ids_and_a_mask_of_as_many_tokens_as_there_are_positions(shape: Any, fits: bool) -> None:
    options = SimpleNamespace(vocabulary=9, positions=5)
    assert TextEncoder.fits(shape, options) is fits
    assert TextEncoder.takes(options).endswith("(1 = real token), L of at most 5")
    assert TextEncoder.fits((2, 100), SimpleNamespace(vocabulary=9))
    assert TextEncoder.takes(SimpleNamespace(vocabulary=9)).endswith("(1 = real token)")


class Words(TextEncoder):
    """A text encoder of nothing but its vocabulary."""

    name = "words"


def test_ids_are_nought_where_there_is_no_token() -> None:
    encoder = Words((2, 3), SimpleNamespace(vocabulary=10))
    ids, mask = encoder.split(torch.tensor([[[9, 4, 77], [1, 1, 0]], [[3, -2, 5], [1, 0, 0]]]).float())
    assert ids.tolist() == [[9, 4, 0], [3, 0, 0]]
    assert mask.tolist() == [[True, True, False], [True, False, False]]
    assert encoder.split(torch.zeros(0, 2, 3))[0].shape == (0, 3)
    for wrong in (10, -1):
        with pytest.raises(ValueError, match=rf"encoder words: token id {wrong} is outside its vocabulary of 10"):
            encoder.split(torch.tensor([[[9, wrong, 0], [1, 1, 0]]]))


def test_each_token_attends_to_what_is_real_or_to_what_is_real_before_it() -> None:
    mask = torch.tensor([[True, True, False], [True, False, True]])
    assert pairs(mask).shape == (2, 1, 3, 3)
    assert torch.equal(pairs(mask)[:, 0], mask[:, None].expand(2, 3, 3))
    assert pairs(mask, causal=True)[:, 0].tolist() == [
        [[True, False, False], [True, True, False], [True, True, False]],
        [[True, False, False], [True, False, False], [True, False, True]],
    ]


def test_a_text_without_tokens_attends_to_its_first_place() -> None:
    mask = torch.tensor([[False, False], [False, True], [True, False]])
    assert never_empty(mask).tolist() == [[True, False], [False, True], [True, False]]
