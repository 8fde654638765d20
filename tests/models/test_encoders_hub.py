"""Encoders of the library: sizes and weights from folders, files and the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_encoders import TINY, pretrained, samples
from torch import nn

from models.encoders import CLIPImageOptions, build, resolve

pytest_plugins = ["support.library_networks"]

# Folders -------------------------------------------------------------------------------------------------------


def test_a_folder_sets_the_sizes(bert: tuple[Path, nn.Module], clip: tuple[Path, nn.Module]) -> None:
    for name, folder in (("bert", bert[0]), ("clip_text", clip[0]), ("clip_image", clip[0])):
        found = resolve({"name": name, "pretrained": str(folder)})
        assert {key: found[key] for key in TINY[name][0]} == TINY[name][0]
        assert resolve(found) == found
        # A trained network is built again from what was resolved, without the folder.
        again = build({key: value for key, value in found.items() if key != "pretrained"}, TINY[name][1])
        assert again.state_dict().keys() == pretrained(name, folder).state_dict().keys()
    with pytest.raises(ValueError, match=r"encoder bert: depth: 3 was asked for, but .*config\.json says 2; leave it"):
        resolve({"name": "bert", "pretrained": str(bert[0]), "depth": 3})


def test_a_configuration_of_one_branch_alone_has_its_keys_at_the_top() -> None:
    read = CLIPImageOptions.architecture.read
    alone = read({"model_type": "clip_vision_model", "hidden_size": 16, "projection_dim": 8}, "here")
    both = read({"model_type": "clip", "vision_config": {"hidden_size": 16}, "projection_dim": 8}, "here")
    assert alone == both
    assert (alone["width"], alone["projection"], alone["depth"]) == (16, 8, 12)


def test_a_folder_may_lie_in_the_users_own(bert: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(bert[0].parent))
    x = samples("bert")
    assert torch.equal(pretrained("bert", f"~/{bert[0].name}")(x), pretrained("bert", bert[0])(x))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "roberta"}, r"config\.json is of a network of type 'roberta', wanted is bert$"),
        ({"hidden_act": "relu"}, r"config\.json has hidden_act 'relu'; this encoder computes with 'gelu' only"),
        ({"hidden_size": "wide"}, "encoder bert, width: .*valid integer, got 'wide'"),
        ({"vocab_size": 51}, r"another network: .*word_embeddings\.weight is \[50, 16\] there, \[51, 16\] here"),
    ],
)
def test_configurations_that_do_not_fit(
    bert: tuple[Path, nn.Module], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    for file in bert[0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**written, **changes}))
    with pytest.raises(ValueError, match=message):
        pretrained("bert", tmp_path)


def test_folders_that_are_damaged(bert: tuple[Path, nn.Module], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json cannot be read .*; wanted is a folder as save_pretrained"):
        pretrained("bert", tmp_path)
    (tmp_path / "config.json").write_text("version https://git-lfs")
    with pytest.raises(ValueError, match=r"config\.json cannot be read \(Expecting value"):
        pretrained("bert", tmp_path)
    (tmp_path / "config.json").write_bytes((bert[0] / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"pretrained: no weights could be read from .*model\.safetensors"):
        pretrained("bert", tmp_path)
    (tmp_path / "model.safetensors").write_bytes((bert[0] / "model.safetensors").read_bytes()[:500])
    with pytest.raises(ValueError, match="pretrained: no weights could be read from"):
        pretrained("bert", tmp_path)


def test_a_folder_of_other_names_is_refused(bert: tuple[Path, nn.Module], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "config.json").write_bytes((bert[0] / "config.json").read_bytes())
    save_file({"audio.weight": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"nothing in the checkpoint fits: it has audio\.weight, \.\.\.; wanted are"):
        pretrained("bert", tmp_path)


# Files ---------------------------------------------------------------------------------------------------------


def test_files_of_weights(bert: tuple[Path, nn.Module], clip: tuple[Path, nn.Module], tmp_path: Path) -> None:
    path, x = tmp_path / "weights.pt", samples("bert")
    sizes = TINY["bert"][0]
    torch.save({"state_dict": {f"module.{k}": v for k, v in bert[1].state_dict().items()}}, path)
    expected = pretrained("bert", bert[0])(x)
    assert torch.equal(pretrained("bert", path, **sizes)(x), expected)
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma"): v for k, v in bert[1].bert.state_dict().items()}
    torch.save(old, path)
    assert torch.equal(pretrained("bert", path, **sizes)(x), expected)
    torch.save(clip[1].state_dict(), path)
    image = samples("clip_image")
    assert torch.equal(
        pretrained("clip_image", path, **TINY["clip_image"][0])(image), pretrained("clip_image", clip[0])(image)
    )
    with pytest.raises(ValueError, match="nothing in the checkpoint fits"):
        pretrained("bert", path, **sizes)
    with pytest.raises(
        ValueError, match=r"another network: .*position_embedding\.weight is \[12, 16\] there, \[77, 512\] here"
    ):
        pretrained("clip_text", path)


def test_missing_weights_are_told(bert: tuple[Path, nn.Module], tmp_path: Path) -> None:
    weights = bert[1].bert.state_dict()
    weights["head.weight"] = weights.pop("encoder.layer.1.output.dense.weight")
    torch.save(weights, tmp_path / "weights.pt")
    with pytest.warns(
        UserWarning, match=r"missing: encoder\.layer\.1\.output\.dense\.weight; unexpected: head\.weight"
    ):
        pretrained("bert", tmp_path / "weights.pt", **TINY["bert"][0])


# The hub -------------------------------------------------------------------------------------------------------


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertConfig

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect\nto the hub")

    monkeypatch.setattr(BertConfig, "get_config_dict", offline)
    message = r"'some/bert' is no file or folder here, and could not .*\(We couldn't connect\); give .* a local folder"
    with pytest.raises(ValueError, match=message):
        pretrained("bert", "some/bert")
    with pytest.raises(ValueError, match=r"pretrained: there is no file or folder /weights/bert$"):
        pretrained("bert", "/weights/bert")


def test_a_name_of_the_hub(bert: tuple[Path, nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertConfig, BertModel

    folder, load = str(bert[0]), BertModel.from_pretrained
    asked: list[str] = []

    def fetched(name: str, **options: Any) -> Any:
        asked.append(name)
        return load(folder, **options)

    read = BertConfig.get_config_dict
    monkeypatch.setattr(BertConfig, "get_config_dict", lambda name: read(folder))
    monkeypatch.setattr(BertModel, "from_pretrained", fetched)
    x = samples("bert")
    assert torch.equal(pretrained("bert", "some/bert", **TINY["bert"][0])(x), pretrained("bert", folder)(x))
    assert asked == ["some/bert", folder]
    with pytest.raises(
        ValueError, match=r"some/bert is of other sizes; write width: 16, depth: 2, heads: 2, hidden: 24"
    ):
        pretrained("bert", "some/bert")
