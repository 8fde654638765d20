"""What a dataset says its split_seed draws is what it draws."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

import data
from data.base import DatasetSource
from data.crema_d import CremaD, CremaDOptions
from data.kinetics_sounds import KineticsSounds, KineticsSoundsOptions
from data.manifest import Manifest, ManifestOptions


def drawn(source: type[DatasetSource], **options: object) -> str:
    """What differs between the splits of two seeds."""
    first, other = (source.load(source.Options.model_validate({**options, "split_seed": seed})) for seed in (0, 1))

    def differs(name: str) -> bool:
        pairs = [getattr(dataset, name).gather(torch.arange(len(getattr(dataset, name)))) for dataset in (first, other)]
        return any(not torch.equal(pairs[0].inputs[m], pairs[1].inputs[m]) for m in pairs[0].inputs)

    return "test" if differs("test") else "validation" if differs("validation") else "nothing"


@pytest.mark.parametrize("named", [("train", "validation", "test"), ("train", "train", "test"), None])
def test_arrays_draw_what_their_split_leaves_out(tmp_path: Path, named: tuple[str, ...] | None) -> None:
    path, count = tmp_path / "a.npz", 60
    arrays = {"a": np.random.default_rng(0).normal(size=(count, 3)), "labels": np.arange(count) % 2}
    np.savez(path, **arrays, **({"split": np.repeat(named, 20)} if named else {}))
    source = data.get("arrays")
    said = source.split_draws(source.Options.model_validate({"root": str(path), "modalities": ["a"]}))
    assert said == drawn(source, root=str(path), modalities=["a"])
    assert said == {None: "test", ("train", "train", "test"): "validation"}.get(named, "nothing")


def test_digits_draw_the_test_split_too() -> None:
    source = data.get("digits")
    assert source.split_draws(source.Options()) == drawn(source, train_samples=50) == "test"


@pytest.mark.parametrize(("split", "draws"), [("speakers", "test"), ("official", "validation"), ("author", "nothing")])
def test_crema_d_says_it_by_its_split(split: str, draws: str) -> None:
    assert CremaD.split_draws(CremaDOptions.model_validate({"root": ".", "split": split})) == draws


def test_lists_that_name_their_validation_clips_draw_nothing(tmp_path: Path) -> None:
    (tmp_path / "my_train.txt").touch()
    options = KineticsSoundsOptions(root=str(tmp_path))
    assert KineticsSounds.split_draws(options) == "validation"
    (tmp_path / "my_val.txt").touch()
    assert KineticsSounds.split_draws(options) == "nothing"


@pytest.mark.parametrize(("column", "draws"), [(None, "test"), ("train test", "validation"), ("1 0 2", "nothing")])
def test_a_table_draws_what_its_split_column_leaves_out(tmp_path: Path, column: str | None, draws: str) -> None:
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        rows = column.split() if column else ["x", "y"]
        csv.writer(file).writerows([("label", "split" if column else "other"), *(("a", text) for text in rows)])
    modalities = {"sound": {"kind": "audio", "rate": 8000, "seconds": 0.1, "n_fft": 64, "hop": 80}}
    options = ManifestOptions.model_validate({"root": str(path), "modalities": modalities})
    assert Manifest.split_draws(options) == draws
