"""Networks of timm: their features and tokens, sizes, and weights from files, folders and the hub."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from models.batchnorm import SynchronizedBatchNorm
from models.encoders import Timm, build, describe, refusal, resolve, timm_networks

SHAPE = (3, 32, 48)


@pytest.fixture(autouse=True, scope="module")
def timm() -> ModuleType:
    """Import timm, which takes seconds, in the one process that runs these tests."""
    found: ModuleType = pytest.importorskip("timm", reason="timm is an extra, and so of the tests")
    return found


@pytest.fixture(scope="module")
def resnet(timm: ModuleType) -> nn.Module:
    torch.manual_seed(5)
    network: nn.Module = timm.create_model("test_resnet")
    return network.eval()


@pytest.fixture(scope="module")
def folder(timm: ModuleType, resnet: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as timm writes it, with a classifier."""
    found = tmp_path_factory.mktemp("resnet")
    timm.models.save_for_hf(resnet, found, safe_serialization=True)
    return found


def _encoder(shape: tuple[int, ...] = SHAPE, model: str = "test_resnet", **options: Any) -> Timm:
    return build({"name": "timm", "model": model, **options}, shape).eval()  # type: ignore[return-value]


def test_features_and_tokens_are_timms() -> None:
    x = torch.randn(2, *SHAPE)
    for model, prefix in (("test_vit", 1), ("test_resnet", 0)):
        encoder = _encoder(model=model)
        network = encoder.backbone
        assert torch.equal(encoder(x), network(x))
        found, tokens = network.forward_features(x), encoder.tokens(x)[0]
        assert torch.equal(tokens, found[:, prefix:] if prefix else found.flatten(2).transpose(1, 2))
        assert (encoder.out_dim, encoder.token_dim) == (network(x).shape[1], tokens.shape[2])


def test_tokens_of_channels_last_maps_are_their_places() -> None:
    encoder = _encoder((3, 64, 32), "swin_tiny_patch4_window7_224")
    assert describe({"name": "timm", "model": "swin_tiny_patch4_window7_224"}, (3, 64, 32))["tokens"] == [2, 768]
    x = torch.randn(1, 3, 64, 32)
    assert torch.equal(encoder.tokens(x)[0], encoder.backbone.forward_features(x).flatten(1, 2))


def test_the_feature_may_be_wider_than_what_timm_calls_its_features() -> None:
    encoder = _encoder((1, 64, 64), "mobilenetv3_small_050")
    assert encoder.backbone.num_features == encoder.token_dim == 288
    assert encoder(torch.randn(2, 1, 64, 64)).shape == (2, encoder.out_dim) == (2, 1024)


def test_networks_are_built_for_the_size_of_samples() -> None:
    assert describe({"name": "timm", "model": "test_vit"}, SHAPE)["tokens"] == [6, 64]
    assert describe({"name": "timm", "model": "test_resnet"}, (1, 40, 33))["out_dim"] == 96
    spec = {"name": "timm", "model": "test_vit"}
    assert refusal(spec, SHAPE) is None
    found = refusal(spec, (3, 30, 48)) or ""
    assert found.startswith("encoder timm cannot take a sample of shape [3, 30, 48] with model test_vit (")
    assert "; encoders that take it: cnn, " in found
    swin = {"name": "timm", "model": "swin_tiny_patch4_window7_224"}
    assert "multiples of its patches, 4 x 4" in (refusal(swin, (3, 30, 64)) or "")
    with pytest.raises(ValueError, match=r"shape \[3, 30, 48\] with model test_vit"):
        build(spec, (3, 30, 48))


def test_batch_norms_are_synchronised_or_refused_under_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(4, *SHAPE)
    plain, own = _encoder(), _encoder(model="test_efficientnet")
    assert any(isinstance(each, SynchronizedBatchNorm) for each in plain.modules())
    monkeypatch.setattr(timm_networks, "worker_count", lambda: 2)
    plain.train()(x)
    own.eval()(x)
    own.train()
    for apply in (own, own.tokens):
        with pytest.raises(ValueError, match="type BatchNormAct2d cannot be shared by several workers"):
            apply(x)


# Weights -------------------------------------------------------------------------------------------------------


def test_weights_come_from_a_folder_or_a_file(resnet: nn.Module, folder: Path, tmp_path: Path) -> None:
    x = torch.randn(2, *SHAPE)
    expected = resnet.forward_head(resnet.forward_features(x), pre_logits=True)
    torch.save(resnet.state_dict(), tmp_path / "weights.pth")
    for path in (folder, folder / "model.safetensors", tmp_path / "weights.pth"):
        torch.testing.assert_close(_encoder(pretrained=str(path))(x), expected)


def test_one_channel_takes_the_sum_of_the_first_layers_weights(resnet: nn.Module, folder: Path) -> None:
    grey = torch.randn(2, 1, 32, 48)
    expected = resnet.forward_head(resnet.forward_features(grey.expand(-1, 3, -1, -1)), pre_logits=True)
    encoder = _encoder((1, 32, 48), pretrained=str(folder))
    torch.testing.assert_close(encoder(grey), expected, rtol=1e-3, atol=1e-4)


def test_what_the_hub_fetched_is_read_as_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[str] = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name) or str(folder))
    encoder, local = (_encoder(pretrained=name) for name in ("timm/test_resnet", str(folder)))
    assert asked == ["timm/test_resnet"]
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), local.parameters(), strict=True))


def test_wrong_weights_are_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pretrained: Any, match: str, **options: Any) -> None:
        with pytest.raises(ValueError, match=match):
            _encoder(pretrained=str(pretrained), **options)

    refused(tmp_path / "none.pth", "pretrained: there is no file or folder .*none.pth")
    refused(folder, "is of model test_resnet, and not test_vit; write", model="test_vit")
    refused(tmp_path, "config.json cannot be read")
    torch.save({"something.else": torch.zeros(2)}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", "something.else")
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    refused(tmp_path / "damaged.pth", "cannot be loaded")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    refused(tmp_path, "holds none of model.safetensors, pytorch_model.bin")

    def offline(name: str, **_: Any) -> str:
        raise OSError("the hub is not reached")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    refused("timm/test_resnet.r160_in1k", "could not be fetched from .* hub .the hub is not reached.; give")


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="model: no network of timm called 'resnet81', nearest is 'resnet18'"):
        resolve({"name": "timm", "model": "resnet81"})
    with pytest.raises(ValueError, match="encoder timm needs its option model: name of a network"):
        resolve("timm")
    monkeypatch.setattr(timm_networks, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="the package timm is not installed; install it with: pip install timm"):
        resolve({"name": "timm", "model": "resnet18"})
