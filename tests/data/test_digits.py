from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from data.base import Dataset
from data.digits import Digits, DigitsOptions, read_digits, split, view
from sweep.training.recipe import Recipe

IMAGES, LABELS = read_digits()


def load(**options: Any) -> Dataset:
    return Digits.load(DigitsOptions(**options))


def test_the_images_are_scikit_learn_s() -> None:
    from sklearn.datasets import load_digits  # takes longer to import than all tests of this file

    theirs = load_digits()
    assert np.array_equal(IMAGES, theirs.images)
    assert np.array_equal(LABELS, theirs.target)
    assert (IMAGES.dtype, LABELS.dtype) == (np.float32, np.int64)


def test_views_of_a_small_image() -> None:
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 2, 3], image[0, 5, 3], image[0, 5, 7] = 4, 8, 16
    left = np.zeros((8, 4))
    left[2, 3], left[5, 3] = 4, 8
    assert view(image, "left").tolist() == [left.ravel().tolist()]
    assert view(image, "profile").tolist() == [[0, 0, 0, 12, 0, 0, 0, 16]]
    assert view(image, "rows").tolist() == [[0, 0, 4, 0, 0, 24, 0, 0]]


def test_the_default_dataset() -> None:
    dataset = load()
    assert dataset.modalities == ("left", "profile") == Digits.modalities(DigitsOptions())
    assert dataset.shapes() == {"left": (32,), "profile": (8,)}
    samples = Digits.samples(DigitsOptions(views=["left", "profile", "rows"]))  # type: ignore[call-arg]
    assert {name: sample.shape for name, sample in samples.items()} == {"left": (32,), "profile": (8,), "rows": (8,)}
    assert dataset.classes == tuple("0123456789")
    assert dataset.augment is None
    assert len(dataset.train) == 600
    assert 0.20 <= len(dataset.test) / 1797 <= 0.25
    assert 0.15 <= len(dataset.validation) / 1797 <= 0.20
    for part in (dataset.train, dataset.validation, dataset.test):
        assert part.labels.dtype == torch.int64
        assert {x.dtype for x in part.inputs.values()} == {torch.float32}
        shares = torch.bincount(part.labels, minlength=10) / len(part)
        assert shares.min() > 0.09
        assert shares.max() < 0.11


def test_views_are_standardised_by_the_training_samples() -> None:
    dataset = load(views=["left", "profile", "rows"], train_samples=100)
    for modality in dataset.modalities:
        training = dataset.train.inputs[modality].double()
        assert training.mean().item() == pytest.approx(0, abs=1e-5)
        assert training.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    train, _, test = split(LABELS, 100, 0)
    ink = IMAGES.sum(axis=1, dtype=float)
    expected = (ink[test] - ink[train].mean()) / ink[train].std()
    np.testing.assert_allclose(dataset.test.inputs["profile"].numpy(), expected, rtol=1e-4, atol=1e-5)
    assert dataset.test.labels.tolist() == LABELS[test].tolist()


@pytest.mark.parametrize(("train_samples", "seed"), [(10, 0), (600, 0), (605, 3), (1000, 1)])
def test_splits_are_disjoint_stratified_and_of_the_size_asked_for(train_samples: int, seed: int) -> None:
    train, validation, test = split(LABELS, train_samples, seed)
    together = np.concatenate([train, validation, test])
    assert len(set(together.tolist())) == len(together)
    assert len(train) == train_samples
    counts = np.bincount(LABELS[train], minlength=10)
    assert counts.max() - counts.min() <= 1
    for part, share in ((test, 0.22), (validation, 0.18)):
        for digit in range(10):
            assert (LABELS[part] == digit).sum() == round(share * np.bincount(LABELS)[digit])


def test_evaluation_splits_do_not_depend_on_the_training_samples() -> None:
    small, large = split(LABELS, 100, 0), split(LABELS, 1000, 0)
    assert np.array_equal(small[1], large[1])
    assert np.array_equal(small[2], large[2])
    assert set(small[0].tolist()) < set(large[0].tolist())


def test_the_split_depends_on_split_seed_alone() -> None:
    first, again, other = load(), load(), load(split_seed=1)
    assert torch.equal(first.train.inputs["left"], again.train.inputs["left"])
    assert torch.equal(first.test.labels, again.test.labels)
    assert not np.array_equal(split(LABELS, 600, 0)[2], split(LABELS, 600, 1)[2])
    assert not torch.equal(first.train.inputs["left"], other.train.inputs["left"])


def test_views_come_in_one_order_and_may_be_three() -> None:
    options = DigitsOptions(views=["rows", "left"])
    assert Digits.modalities(options) == ("left", "rows")
    assert list(Digits.encoders(options).items()) == [("left", "mlp"), ("rows", "mlp")]
    assert load(views=["rows", "profile", "left"], train_samples=10).shapes() == {
        "left": (32,),
        "profile": (8,),
        "rows": (8,),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": ["left", "top"]}, "unknown modality 'top'; there are: left, profile, rows"),
        ({"views": ["left", "left"]}, "twice"),
        ({"views": []}, "at least one"),
        ({"train_samples": 9}, "greater than or equal to 10"),
        ({"train_samples": 1001}, "less than or equal to 1000"),
        ({"train_samples": 600.5}, "integer"),
        ({"split_seed": -1}, "greater than or equal to 0"),
        ({"seed": 1}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DigitsOptions(**options)


def test_the_declaration_fits_the_recipe() -> None:
    recipe = dict(Digits.recipe)
    assert recipe.pop("epochs") == 30
    assert Recipe(**recipe).lr == 0.05
    assert Digits.test_peak
    assert Digits.fingerprint(DigitsOptions()) == Digits.fingerprint(DigitsOptions(split_seed=4))
