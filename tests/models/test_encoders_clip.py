"""CLIP gives the library's features, of either branch."""

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
)
from torch import nn

from models.encoders import CLIPImageOptions, CLIPTextOptions

pytest_plugins = ["support.library_networks"]


def test_clip_gives_the_librarys_features(
    clip: tuple[Path, nn.Module], recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, model = clip
    text, image = samples("clip_text"), samples("clip_image")
    words = model.get_text_features(input_ids=text[:, 0], attention_mask=text[:, 1])
    torch.testing.assert_close(pretrained("clip_text", folder)(text), words.pooler_output)
    picture = model.get_image_features(pixel_values=image)
    torch.testing.assert_close(pretrained("clip_image", folder)(image), picture.pooler_output)

    hidden = model.text_model(input_ids=text[:, 0], attention_mask=text[:, 1])
    encoder = pretrained("clip_text", folder, feature="hidden")
    torch.testing.assert_close(encoder(text), hidden.pooler_output)
    torch.testing.assert_close(encoder.tokens(text)[0], hidden.last_hidden_state)
    last = text[:, 1].sum(1) - 1
    torch.testing.assert_close(encoder(text), hidden.last_hidden_state[torch.arange(3), last])
    encoder = pretrained("clip_image", folder, feature="hidden")
    torch.testing.assert_close(encoder(image), model.vision_model(pixel_values=image).pooler_output)
    assert encoder.out_dim == 16
    assert not [str(warning.message) for warning in recwarn.list if "tensors loaded" in str(warning.message)]
    assert not any(capfd.readouterr())


def test_keys_that_a_configuration_leaves_out_have_the_librarys_values() -> None:
    from transformers import CLIPTextConfig, CLIPVisionConfig

    assert_librarys_values(CLIPTextOptions, CLIPTextConfig())
    assert_librarys_values(CLIPImageOptions, CLIPVisionConfig())


@pytest.mark.parametrize(
    ("name", "shape", "takes"),
    [
        ("clip_text", (3, 32, 32), r"\[2, L\]"),
        ("clip_image", (3, 32, 16), r"\[3, 32, 32\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_those_that_do(name: str, shape: tuple[int, ...], takes: str) -> None:
    assert_shape_is_refused(name, shape, takes)


def test_sizes_have_bounds_that_still_fit_a_machine() -> None:
    common = {"width": (1, 16_384), "depth": (1, 1_000), "heads": (1, 1_000), "hidden": (1, 65_536)}
    common |= {"projection": (1, 16_384)}
    assert number_bounds(CLIPImageOptions) == {**common, "size": (1, 4_096), "patch": (1, 4_096)}
    assert number_bounds(CLIPTextOptions) == {**common, "vocabulary": (2, 2_000_000), "positions": (1, 100_000)}
