"""Checkpoints: reading files of weights, and what is told of those that fit in part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.encoders import load_weights
from models.encoders.checkpoints import read_weights, rename


def test_load_weights_reports() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    weights = {"0.weight": torch.zeros(3, 5), "module.1.weight": torch.ones(1, 3), "2.weight": torch.zeros(1)}
    report = load_weights(module, weights, input_layer="0.weight")
    assert report.loaded == ("1.weight",)
    assert report.left_out == ("0.weight",)
    assert report.missing == ("0.bias", "1.bias")
    assert report.unexpected == ("2.weight",)
    assert not report.complete
    assert module[1].weight.tolist() == [[1.0, 1.0, 1.0]]
    assert load_weights(module, module.state_dict()).complete


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"audio.0.weight": torch.zeros(3, 2)}, r"nothing in the checkpoint fits: it has audio\.0\.weight, \.\.\.;"),
        ({}, "it has no tensors"),
        ({"0.weight": torch.zeros(3, 5)}, "nothing in the checkpoint fits"),
        (
            {"0.weight": torch.zeros(3, 2), "0.bias": torch.zeros(4)},
            r"another network: 0\.bias is \[4\] there, \[3\] here",
        ),
    ],
)
def test_checkpoints_of_another_network_are_refused(weights: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_weights(nn.Sequential(nn.Linear(2, 3)), weights, input_layer="0.weight")


def test_the_input_layer_is_averaged_where_asked_for() -> None:
    module = nn.Sequential(nn.Conv2d(2, 3, 1))
    weights = {"0.weight": torch.arange(12.0).view(3, 4, 1, 1), "0.bias": torch.ones(3)}
    report = load_weights(module, weights, input_layer="0.weight", resize="average")
    assert (report.averaged, report.left_out, report.missing) == (("0.weight",), (), ())
    assert report.loaded == ("0.weight", "0.bias")
    assert str(report) == "2 tensors loaded; averaged: 0.weight"
    assert not report.complete
    # Means 1.5, 5.5 and 9.5 over four channels, doubled for two.
    assert module[0].weight.flatten(1).tolist() == [[3, 3], [11, 11], [19, 19]]
    wrong = {**weights, "0.weight": torch.zeros(3, 4, 2, 1)}
    with pytest.raises(ValueError, match=r"another network: 0\.weight is \[3, 4, 2, 1\] there, \[3, 2, 1, 1\] here"):
        load_weights(module, wrong, input_layer="0.weight", resize="average")


@pytest.mark.parametrize("entry", [None, "state_dict", "model"])
def test_files_of_weights_are_unwrapped(tmp_path: Path, entry: str | None) -> None:
    weights = {"module.a": torch.ones(2), "b": torch.zeros(1)}
    torch.save(weights if entry is None else {entry: weights, "epoch": 3}, tmp_path / "weights.pt")
    found = read_weights(tmp_path / "weights.pt")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"a": [1, 1], "b": [0]}


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_damaged_files_of_weights(tmp_path: Path, name: str) -> None:
    whole = tmp_path / f"whole_{name}"
    if name.endswith(".pt"):
        torch.save({"a": torch.ones(200)}, whole)
    else:
        save_file({"a": torch.ones(200)}, whole)
    assert read_weights(whole)["a"].shape == (200,)
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", whole.read_bytes()[:300]):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} cannot be read as weights .*; wanted is a state_dict"):
            read_weights(tmp_path / name)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        read_weights(tmp_path / "weights.pt")


def test_rename_takes_the_first_rule_that_fits() -> None:
    weights = {name: torch.zeros(()) for name in ("blocks.1.a", "blocks.x", "head.a", "rest")}
    rules = [(r"blocks\.(\d+)\.", r"layers.\1."), (r"blocks\.", "b."), ("head", None)]
    assert list(rename(weights, rules)) == ["layers.1.a", "b.x", "rest"]
