"""BERT gives the library's features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny_encoders import (
    assert_librarys_values,
    assert_shape_is_refused,
    number_bounds,
    pretrained,
    samples,
    tiny,
)
from torch import nn

from models.encoders import BertOptions

pytest_plugins = ["support.library_networks"]


def test_bert_gives_the_librarys_features(
    bert: tuple[Path, nn.Module], recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, model = bert
    x = samples("bert")
    expected = model.bert(input_ids=x[:, 0], attention_mask=x[:, 1])
    encoder = pretrained("bert", folder)
    torch.testing.assert_close(encoder(x), expected.last_hidden_state[:, 0])
    torch.testing.assert_close(encoder.tokens(x)[0], expected.last_hidden_state)
    torch.testing.assert_close(pretrained("bert", folder, text_feature="pooler")(x), expected.pooler_output)
    assert not [str(warning.message) for warning in recwarn.list if "pretrained" in str(warning.message)]
    assert not any(capfd.readouterr())


def test_dropout_is_drawn_only_where_asked_for() -> None:
    x, dropping = samples("bert"), tiny("bert", dropout=0.5)
    assert not torch.equal(dropping(x), dropping(x))
    assert torch.equal(dropping.eval()(x), tiny("bert").eval()(x))


def test_keys_that_a_configuration_leaves_out_have_the_librarys_values() -> None:
    from transformers import BertConfig

    assert_librarys_values(BertOptions, BertConfig())


@pytest.mark.parametrize(
    ("name", "shape", "takes"),
    [
        ("bert", (10,), r"\[2, L\]: the ids of L tokens, and their attention mask"),
        ("bert", (2, 13), "L of at most 12"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_those_that_do(name: str, shape: tuple[int, ...], takes: str) -> None:
    assert_shape_is_refused(name, shape, takes)


def test_sizes_have_bounds_that_still_fit_a_machine() -> None:
    assert number_bounds(BertOptions) == {
        "width": (1, 16_384), "depth": (1, 1_000), "heads": (1, 1_000), "hidden": (1, 65_536),
        "vocabulary": (2, 2_000_000), "positions": (1, 100_000), "dropout": (0, 1),
    }  # fmt: skip
