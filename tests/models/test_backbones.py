"""Backbones: padding does not count, and a pretrained one computes what its library does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.tiny_llama import WIDTH, saved_llama
from torch import Tensor, nn

from models.backbones import Backbone, ClassTokenTransformer, PretrainedTransformer, keep_constant, magnitude
from models.positions import sines


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    folder = tmp_path_factory.mktemp("llama")
    return folder, saved_llama(folder)


@pytest.fixture(params=["own", "pretrained"])
def backbone(request: pytest.FixtureRequest, llama: tuple[Path, nn.Module]) -> Backbone:
    torch.manual_seed(0)
    return ClassTokenTransformer(WIDTH, 2, 2) if request.param == "own" else PretrainedTransformer(str(llama[0]))


def tokens(length: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(3, length, WIDTH, generator=torch.Generator().manual_seed(seed))


MASK = torch.tensor([[True] * 6, [False, True, True, False, True, False], [False] * 6])


def test_padding_may_hold_anything(backbone: Backbone) -> None:
    x = tokens()
    other = torch.where(MASK.unsqueeze(2), x, tokens(seed=1))
    found = backbone(x, MASK)
    assert found.shape == (3, WIDTH)
    assert found.isfinite().all()
    torch.testing.assert_close(found, backbone(other, MASK))
    assert not torch.allclose(found[0], backbone(tokens(seed=1), MASK)[0])


def test_places_of_padding_may_be_left_out(backbone: Backbone) -> None:
    x, places = tokens(), MASK[1].nonzero().flatten()
    alone = backbone(x[1:2, places], MASK[1:2, places], places)
    torch.testing.assert_close(alone, backbone(x, MASK)[1:2])


@pytest.mark.parametrize("depth", [0, 2])
def test_the_own_one_reads_the_class_token_in_front_at_place_nought(depth: int) -> None:
    torch.manual_seed(0)
    own, x = ClassTokenTransformer(WIDTH, depth, 2), tokens(2)
    mask = torch.tensor([[True, True], [True, False], [False, True]])
    states = torch.cat([own.class_token.expand(3, 1, -1), x], 1) + sines(torch.arange(3), WIDTH)
    for block in own.layers:
        states = block(states, torch.cat([torch.ones(3, 1, dtype=torch.bool), mask], 1))
    torch.testing.assert_close(own(x, mask), own.norm(states[:, 0]))
    assert (own.front, len(own.blocks)) == (1, depth)


def test_the_pretrained_one_gives_the_mean_that_its_library_does(llama: tuple[Path, nn.Module]) -> None:
    folder, network = llama
    backbone, x = PretrainedTransformer(str(folder)), tokens()
    assert backbone.causal
    expected = network(inputs_embeds=x).last_hidden_state.mean(1)
    torch.testing.assert_close(backbone(x, torch.ones(3, 6, dtype=torch.bool)), expected)
    # Positions count what there is: the same as without the padding.
    alone = network(inputs_embeds=x[1:2, MASK[1]]).last_hidden_state.mean(1)
    torch.testing.assert_close(backbone(x, MASK)[1], alone[0])
    assert not backbone(x, MASK)[2].any()


def test_the_pretrained_one_never_drops(llama: tuple[Path, nn.Module]) -> None:
    backbone = nn.Sequential(PretrainedTransformer(str(llama[0]))).train()
    assert not any(module.training for module in backbone[0].modules())


def test_the_magnitude_by_hand() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.data, layer.bias.data = torch.tensor([[1.0, -2.0]]), torch.tensor([0.5])
    assert float(magnitude(layer)) == 3.5
    assert magnitude(layer).dtype == torch.float64


def test_constants_are_in_no_state_and_compute_the_same(backbone: Backbone) -> None:
    x, before = tokens(), {name: p.detach().clone() for name, p in backbone.named_parameters()}
    expected = backbone(x, MASK).detach()
    keep_constant(backbone)
    assert not list(backbone.parameters())
    assert not backbone.state_dict()
    assert torch.equal(backbone(x, MASK), expected)
    assert all(torch.equal(value, dict(backbone.named_buffers())[name]) for name, value in before.items())


def test_a_head_that_does_not_divide_the_width_is_refused() -> None:
    with pytest.raises(ValueError, match="heads divide, not 16 and 3 heads"):
        ClassTokenTransformer(16, 1, 3)


def test_what_is_no_backbone_is_refused_by_what_is_wrong(llama: tuple[Path, nn.Module], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"there is no file or folder {tmp_path}/nowhere"):
        PretrainedTransformer(f"{tmp_path}/nowhere")
    with pytest.raises(ValueError, match="no backbone could be loaded from"):
        PretrainedTransformer(str(tmp_path))
    for file in llama[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"lacks weights of the backbone, layers\.2\..* among 9"):
        PretrainedTransformer(str(tmp_path))


def test_loading_leaves_the_terminal_alone(llama: tuple[Path, nn.Module], capfd: pytest.CaptureFixture[str]) -> None:
    PretrainedTransformer(str(llama[0]))
    assert capfd.readouterr() == ("", "")


def test_a_folder_may_lie_in_the_users_own(llama: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(llama[0].parent))
    x = tokens()
    found, expected = (PretrainedTransformer(path)(x, MASK) for path in (f"~/{llama[0].name}", str(llama[0])))
    assert torch.equal(found, expected)


def test_a_model_that_takes_no_tokens_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    ViTModel(ViTConfig(**sizes, image_size=4, patch_size=2)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a ViTModel, which cannot be entered by inputs_embeds"):
        PretrainedTransformer(str(tmp_path))
