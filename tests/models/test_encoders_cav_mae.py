"""CAV-MAE: filter banks, positions and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_encoders import TINY, assert_shape_is_refused, number_bounds, samples, tiny
from torch import Tensor, nn
from torch.nn import functional as F

from models.encoders import build
from models.encoders.cav_mae import CAVMAEOptions
from models.positions import grid_sines


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


def test_published_sizes_of_the_table() -> None:
    small: dict[str, Any] = {"width": 8, "depth": 1, "heads": 1}
    assert build({"name": "cav_mae", **small}, (1, 1024, 128)).positions.shape == (1, 512, 8)


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


@pytest.mark.parametrize(
    ("name", "shape", "takes"),
    [
        ("cav_mae", (3, 64, 32), r"filter banks \[1, frames, bands\]"),
        ("cav_mae", (1, 998, 128), "multiples of 16"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_those_that_do(name: str, shape: tuple[int, ...], takes: str) -> None:
    assert_shape_is_refused(name, shape, takes)


def test_sizes_have_bounds_that_still_fit_a_machine() -> None:
    assert number_bounds(CAVMAEOptions) == {
        "width": (4, 16_384), "depth": (1, 1_000), "heads": (1, 1_000), "deviation": (0, None), "patch": (1, 4_096)
    }  # fmt: skip
