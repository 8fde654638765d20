from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import data
from data.base import DataError, Dataset, Split, require_modalities


def make_split() -> Split:
    return Split(
        {"audio": torch.arange(24.0).view(4, 2, 3), "image": torch.arange(4.0).view(4, 1)}, torch.tensor([3, 2, 1, 0])
    )


def test_gather_takes_the_samples_asked_for_in_their_order() -> None:
    batch = make_split().gather(torch.tensor([2, 0, 2]))
    assert len(batch) == 3
    assert batch.inputs["audio"].tolist() == [
        [[12, 13, 14], [15, 16, 17]],
        [[0, 1, 2], [3, 4, 5]],
        [[12, 13, 14], [15, 16, 17]],
    ]
    assert batch.inputs["image"].tolist() == [[2], [0], [2]]
    assert batch.labels.tolist() == [1, 3, 1]
    assert batch.index.tolist() == [2, 0, 2]


def test_gather_of_nothing_is_an_empty_batch() -> None:
    batch = make_split().gather(torch.tensor([], dtype=torch.int64))
    assert len(batch) == 0
    assert batch.inputs["audio"].shape == (0, 2, 3)


def test_gather_and_to_move_to_the_device() -> None:
    moved = make_split().to("meta")
    assert {x.device.type for x in [*moved.inputs.values(), moved.labels]} == {"meta"}
    assert len(moved) == 4
    batch = make_split().gather(torch.tensor([1]), "meta")
    assert {x.device.type for x in [*batch.inputs.values(), batch.labels, batch.index]} == {"meta"}


def test_to_keeps_values_and_the_original() -> None:
    split = make_split()
    copy = split.to("cpu")
    assert torch.equal(copy.inputs["audio"], split.inputs["audio"])
    assert torch.equal(copy.labels, split.labels)


def test_split_refuses_unequal_lengths() -> None:
    with pytest.raises(DataError, match="modality image has 3 samples, the labels have 4"):
        Split({"image": torch.zeros(3, 1)}, torch.zeros(4, dtype=torch.int64))


def test_dataset_tells_classes_and_shapes() -> None:
    split = make_split()
    dataset = Dataset("toy", ("audio", "image"), tuple("abcd"), split, split, split)
    assert dataset.num_classes == 4
    assert dataset.shapes() == {"audio": (2, 3), "image": (1,)}


def test_require_modalities_sorts_and_refuses() -> None:
    assert require_modalities(["c", "a"], ["a", "b", "c"]) == ("a", "c")
    with pytest.raises(ValueError, match="unknown modality 'd'; there are: a, b, c"):
        require_modalities(["a", "d"], ["a", "b", "c"])
    with pytest.raises(ValueError, match="twice"):
        require_modalities(["a", "a"], ["a", "b"])
    with pytest.raises(ValueError, match="at least one"):
        require_modalities([], ["a", "b"])


def test_datasets_are_found_by_name() -> None:
    assert {"digits", "av_digits"} <= set(data.names())
    assert data.get("digits").name == "digits"
    with pytest.raises(KeyError, match=r"no dataset called 'digit'; there are: .*digits"):
        data.get("digit")


def test_declarations_and_fingerprints_need_no_heavy_library(fsdd_root: Path, mnist_root: Path) -> None:
    program = f"""
import sys, data
for name in ("digits", "av_digits"):
    source = data.get(name)
    paths = dict(zip(("root", "mnist_root"), {[str(fsdd_root), str(mnist_root)]!r})) if source.paths else {{}}
    options = source.Options(**paths)
    source.modalities(options), source.encoders(options), source.fingerprint(options)
heavy = {{"ray", "sklearn", "scipy", "torchaudio", "torchvision", "transformers", "sweep"}}
print(sorted(heavy & set(sys.modules)))
"""
    root = Path(data.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
