"""M3AE and CAV-MAE: patches, positions, masks and checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_encoders import TINY, samples, tiny
from torch import Tensor, nn
from torch.nn import functional as F

from models.encoders import build
from models.encoders._vit import Block
from models.positions import grid_sines, sines

# Blocks and positions ------------------------------------------------------------------------------------------


def test_a_block_is_torchs_pre_norm_layer() -> None:
    torch.manual_seed(0)
    block = Block(16, 4)
    layer = nn.TransformerEncoderLayer(
        16, 4, 64, dropout=0, activation="gelu", norm_first=True, batch_first=True
    ).train()
    state = block.state_dict()
    names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear": "mlp.fc", "norm": "norm"}
    for name in layer.state_dict():
        theirs, ours = next((a, b) for a, b in names.items() if name.startswith(a))
        layer.state_dict()[name].copy_(state[ours + name.removeprefix(theirs)])
    x, mask = torch.randn(3, 6, 16), torch.rand(3, 6) < 0.7
    mask[:, 0] = True
    torch.testing.assert_close(block(x), layer(x))
    torch.testing.assert_close(block(x, mask), layer(x, src_key_padding_mask=~mask))


def test_position_tables() -> None:
    table = sines(torch.tensor([0, 3]), 4)
    three = [math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]
    torch.testing.assert_close(table, torch.tensor([[0.0, 0, 1, 1], three]))
    grid = grid_sines(2, 3, 8)
    assert grid.shape == (6, 8)
    # Patch 5 lies in row 1 and column 2.
    torch.testing.assert_close(grid[5], torch.cat([sines(torch.tensor([2]), 4)[0], sines(torch.tensor([1]), 4)[0]]))


def test_layers_start_xavier_uniform() -> None:
    torch.manual_seed(0)
    block = Block(96, 4)
    bound = math.sqrt(6 / (96 + 3 * 96))
    assert 0.95 * bound < block.attn.qkv.weight.abs().max() <= bound
    assert not block.mlp.fc1.bias.any()


# M3AE ----------------------------------------------------------------------------------------------------------


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


# CAV-MAE -------------------------------------------------------------------------------------------------------


def test_filter_banks_are_normalised_and_cut_from_the_lowest_bands() -> None:
    encoder, x = tiny("cav_mae").eval(), samples("cav_mae")
    scaled = (x + 5.081) / 4.4849
    # Eight patches: two of 16 bands, each over four times 16 frames.
    patches = torch.stack(
        [scaled[:, 0, 16 * t : 16 * t + 16, 16 * f : 16 * f + 16].mT.flatten(1) for f in range(2) for t in range(4)], 1
    )
    tokens = patches @ encoder.patch_embed.weight.flatten(1).T + encoder.patch_embed.bias
    tokens = tokens + grid_sines(2, 4, 16) + encoder.modality
    for block in encoder.blocks:
        tokens = block(tokens)
    tokens = F.layer_norm(tokens, (16,))
    torch.testing.assert_close(encoder.tokens(x)[0], tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder(x), tokens.mean(1), rtol=1e-4, atol=1e-5)
    raw = tiny("cav_mae", mean=0.0, deviation=1.0).eval()
    torch.testing.assert_close(raw(scaled), encoder(x))


def test_positions_are_trained_or_frozen() -> None:
    trained, frozen = tiny("cav_mae"), tiny("cav_mae", positions="frozen")
    assert isinstance(trained.positions, nn.Parameter)
    assert "positions" not in dict(frozen.named_parameters())
    assert trained.state_dict().keys() == frozen.state_dict().keys()
    x = samples("cav_mae")
    assert torch.equal(trained(x), frozen(x))


def test_published_sizes_of_the_tables() -> None:
    small: dict[str, Any] = {"width": 8, "depth": 1, "heads": 1}
    assert build({"name": "cav_mae", **small}, (1, 1024, 128)).positions.shape == (1, 512, 8)
    assert build({"name": "m3ae_image", **small}, (3, 256, 256)).table.shape == (256, 8)


def _cav_mae() -> tuple[dict[str, Tensor], nn.Module]:
    """A checkpoint as the pretraining writes it: one own block, one shared, all norms, a picture branch, a decoder."""
    source = tiny("cav_mae", seed=3)
    state = source.state_dict()
    weights = {
        "patch_embed_a.proj.weight": state["patch_embed.weight"],
        "patch_embed_a.proj.bias": state["patch_embed.bias"],
        "modality_a": state["modality"],
        "pos_embed_a": state["positions"],
        "norm_a.weight": state["final_norm.weight"],
        "norm_a.bias": state["final_norm.bias"],
    }
    for name, tensor in state.items():
        if name.startswith("blocks.0."):
            weights[name.replace("blocks.0.", "blocks_a.0.")] = tensor
        elif name.startswith("blocks.1."):
            shared = name.replace("blocks.1.", "blocks_u.0.")
            weights[shared.replace("norm1.", "norm1_a.").replace("norm2.", "norm2_a.")] = tensor
    elsewhere = ["patch_embed_v.proj.weight", "modality_v", "pos_embed_v", "norm_v.weight", "norm.weight", "mask_token"]
    elsewhere += [
        "blocks_v.0.norm1.weight",
        "blocks_a.0.norm1_v.weight",
        "blocks_u.0.norm1.weight",
        "decoder_embed.bias",
    ]
    return weights | {name: torch.full((16,), 7.0) for name in elsewhere}, source


def test_cav_mae_checkpoints(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    weights, source = _cav_mae()
    path, x = tmp_path / "audio_model.pth", samples("cav_mae")
    torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, path)
    assert torch.equal(tiny("cav_mae", pretrained=str(path))(x), source(x))
    assert torch.equal(tiny("cav_mae", pretrained=str(path), positions="frozen")(x), source(x))
    torch.save(source.state_dict(), path)
    assert torch.equal(tiny("cav_mae", pretrained=str(path))(x), source(x))
    assert not recwarn.list


def test_cav_mae_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    weights, _ = _cav_mae()
    path = tmp_path / "audio_model.pth"
    torch.save({name: tensor for name, tensor in weights.items() if not name.startswith("blocks_u")}, path)
    with pytest.warns(UserWarning, match=r"missing: blocks\.1\.norm1\.weight"):
        tiny("cav_mae", pretrained=str(path))
    torch.save(weights, path)
    with pytest.raises(ValueError, match=r"another network: positions is \[1, 8, 16\] there, \[1, 4, 16\] here"):
        build({"name": "cav_mae", **TINY["cav_mae"][0], "pretrained": str(path)}, (1, 32, 32))
    torch.save({"visual.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"nothing in the checkpoint fits: it has visual\.weight"):
        tiny("cav_mae", pretrained=str(path))
