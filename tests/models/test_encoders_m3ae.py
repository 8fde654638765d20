"""M3AE: patches, positions, masks and checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.tiny_encoders import assert_shape_is_refused, number_bounds, samples, tiny
from torch import Tensor
from torch.nn import functional as F

from models.encoders import build
from models.encoders.m3ae import M3AEImageOptions, M3AETextOptions
from models.positions import grid_sines


def test_patches_in_the_order_of_pretraining_and_of_mla() -> None:
    x = torch.arange(2 * 3 * 32 * 48.0).view(2, 3, 32, 48)
    for order, expected in (
        ("row_column_channel", x[1, :, 16:, 32:].permute(1, 2, 0)),
        ("channel_row_column", x[1, :, 16:, 32:]),
    ):
        patches = tiny("m3ae_image", patch_order=order).patches(x)
        assert patches.shape == (2, 6, 768)
        assert torch.equal(patches[1, 5], expected.flatten())
    # Of a patch the numbers of a pixel lie side by side: channels of the first, then the pixel to its right.
    first = tiny("m3ae_image").patches(x)[0, 0, :6].tolist()
    assert first == [x[0, c, 0, column].item() for column in (0, 1) for c in range(3)]


def test_m3ae_images_by_their_parts() -> None:
    encoder, x = tiny("m3ae_image").eval(), samples("m3ae_image")
    trunk = encoder.trunk
    tokens = encoder.patches(x) @ encoder.embedding.weight.T + grid_sines(2, 3, 16) + trunk.type_vector
    tokens = torch.cat([trunk.class_token.expand(3, 1, 16), tokens], 1)
    for block in trunk.blocks:
        tokens = block(tokens)
    tokens = F.layer_norm(tokens, (16,))
    torch.testing.assert_close(encoder.tokens(x)[0], tokens)
    torch.testing.assert_close(encoder(x), tokens.mean(1))
    assert "table" not in encoder.state_dict()


def test_m3ae_texts_are_the_mean_of_what_is_real() -> None:
    masked, whole, x = tiny("m3ae_text").eval(), tiny("m3ae_text", pool="all").eval(), samples("m3ae_text")
    tokens = masked.tokens(x)[0]
    assert tokens.shape == (3, 11, 16)
    shortest, length = int(x[:, 1].sum(1).argmin()), int(x[:, 1].sum(1).min())
    assert length < 10
    torch.testing.assert_close(masked(x)[shortest], tokens[shortest, : 1 + length].mean(0))
    torch.testing.assert_close(whole(x), tokens.mean(1))
    # Nobody attends to padding either way; a text without tokens is its class token.
    torch.testing.assert_close(whole.tokens(x)[0], tokens)
    x[0, 1] = 0
    torch.testing.assert_close(masked(x)[0], masked.tokens(x)[0][0, 0])


def _m3ae(modality: str) -> dict[str, Tensor]:
    """A checkpoint under the names of the torch conversions, with both modalities and a decoder."""
    own = tiny(f"m3ae_{modality}", seed=3).state_dict()
    other = tiny(f"m3ae_{'text' if modality == 'image' else 'image'}", seed=4).state_dict()
    weights = {"cls_token": own["trunk.class_token"], "decoder.layer_norm.weight": torch.ones(4)}
    for kind, state in ((modality, own), ("text" if modality == "image" else "image", other)):
        weights[f"encoder_{kind}_type_embedding"] = state["trunk.type_vector"]
        weights |= {f"{kind}_{name}": tensor for name, tensor in state.items() if name.startswith("embedding.")}
        weights |= {f"{kind}_mask_embedding": torch.zeros(1, 1, 8)}
    theirs = {
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "attn.qkv": "attention.qkv_linear",
        "attn.proj": "attention.fc",
        "mlp": "transformer_mlp",
    }
    for name, tensor in own.items():
        if name.startswith("trunk.blocks."):
            number, _, rest = name.removeprefix("trunk.blocks.").partition(".")
            ours = next(each for each in theirs if rest.startswith(each))
            weights[f"encoder.blocks.{number}.{theirs[ours]}{rest.removeprefix(ours)}"] = tensor
        elif name.startswith("trunk.norm."):
            weights[f"encoder.layer_norm.{name.removeprefix('trunk.norm.')}"] = tensor
    return weights


@pytest.mark.parametrize("modality", ["image", "text"])
def test_m3ae_checkpoints(modality: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    name, path = f"m3ae_{modality}", tmp_path / "m3ae.pth"
    torch.save(_m3ae(modality), path)
    x, expected = samples(name), tiny(name, seed=3)
    assert torch.equal(tiny(name, pretrained=str(path))(x), expected(x))
    torch.save({"model": expected.state_dict()}, path)
    assert torch.equal(tiny(name, pretrained=str(path))(x), expected(x))
    assert not recwarn.list


def test_published_sizes_of_the_table() -> None:
    encoder = build({"name": "m3ae_image", "width": 8, "depth": 1, "heads": 1}, (3, 256, 256))
    assert encoder.table.shape == (256, 8)


def test_images_of_one_channel_fit_and_those_without_a_pixel_do_not() -> None:
    assert build({"name": "m3ae_image", "width": 8, "depth": 1, "heads": 1}, (1, 32, 48))(
        torch.zeros(2, 1, 32, 48)
    ).any()
    for shape in ((3, 0, 32), (3, 32, 40), (3, 32), (0, 32, 32)):
        with pytest.raises(ValueError, match="multiples of 16"):
            build("m3ae_image", shape)


@pytest.mark.parametrize(
    ("name", "shape", "takes"),
    [
        ("m3ae_image", (3, 32, 40), "multiples of 16"),
        ("m3ae_text", (2, 0), r"\[2, L\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_those_that_do(name: str, shape: tuple[int, ...], takes: str) -> None:
    assert_shape_is_refused(name, shape, takes)


def test_sizes_have_bounds_that_still_fit_a_machine() -> None:
    common = {"width": (4, 16_384), "depth": (1, 1_000), "heads": (1, 1_000)}
    assert number_bounds(M3AEImageOptions) == {**common, "patch": (1, 4_096)}
    assert number_bounds(M3AETextOptions) == {**common, "vocabulary": (1, 2_000_000)}
