from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression

from data.base import Dataset
from data.base.splits import stratified_parts
from data.embedded import read_embedded
from data.mfeat import IMAGE, VIEWS, WIDTHS, Mfeat, MfeatOptions


def load(**options: Any) -> Dataset:
    return Mfeat.load(MfeatOptions(**options))


def test_the_file_holds_what_its_description_says() -> None:
    labels, *views = read_embedded("mfeat", "labels", *VIEWS)
    assert labels.tolist() == np.repeat(np.arange(10), 200).tolist()
    assert [values.shape for values in views] == [(2000, WIDTHS[view]) for view in VIEWS]
    ranges = {view: (values.min(), values.max()) for view, values in zip(VIEWS, views, strict=True)}
    assert (ranges["fac"], ranges["pix"]) == ((0, 1353), (0, 6))
    assert ranges["mor"] == pytest.approx((0, 17572), rel=1e-4)
    assert ranges["kar"] == pytest.approx((-16.5, 17.1), abs=0.06)


def test_the_splits_of_seed_0() -> None:
    (labels,) = read_embedded("mfeat", "labels")
    test, validation, train = stratified_parts(labels, (0.2, 0.2), 0)
    assert test[:5].tolist() == [1, 7, 8, 13, 26]
    assert validation[:5].tolist() == [4, 6, 9, 23, 24]
    assert train[:5].tolist() == [0, 2, 3, 5, 10]
    dataset = load()
    for split, positions, each in ((dataset.train, train, 120), (dataset.validation, validation, 40),
                                   (dataset.test, test, 40)):  # fmt: skip
        assert split.labels.tolist() == labels[positions].tolist()
        assert torch.bincount(split.labels).tolist() == [each] * 10


def test_every_column_is_standardised_by_the_training_samples() -> None:
    dataset = load(views=["mor"])
    training = dataset.train.inputs["mor"].double()  # type: ignore[union-attr]
    torch.testing.assert_close(training.mean(0), torch.zeros(6).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(training.std(0, correction=0), torch.ones(6).double(), atol=1e-6, rtol=0)
    labels, values = read_embedded("mfeat", "labels", "mor")
    test, _, train = stratified_parts(labels, (0.2, 0.2), 0)
    chosen = values[train].astype(float)
    expected = (values[test] - chosen.mean(0)) / chosen.std(0)
    np.testing.assert_allclose(dataset.test.inputs["mor"], expected, rtol=1e-4, atol=1e-5)


def test_views_keep_their_order_and_pix_may_be_an_image() -> None:
    options = MfeatOptions.model_validate({"views": ["pix", "mor", "fac"], "pix_as_image": True})
    assert Mfeat.modalities(options) == ("pix", "mor", "fac")
    assert Mfeat.encoders(options) == {"pix": "cnn", "mor": "mlp", "fac": "mlp"}
    image, vector = Mfeat.load(options), load(views=["pix"])
    assert image.shapes() == {"pix": IMAGE, "mor": (6,), "fac": (216,)}
    assert image.shapes() == {name: sample.shape for name, sample in Mfeat.samples(options).items()}
    assert torch.equal(image.test.inputs["pix"].flatten(1), vector.test.inputs["pix"])  # type: ignore[union-attr,arg-type]


@pytest.mark.parametrize(("views", "accuracy"), [(["fou"], 82.8), (["mor"], 73.5), (["fou", "mor"], 86.3)])
def test_a_linear_model_gets_what_it_should(views: list[str], accuracy: float) -> None:
    dataset = load(views=views)
    train, test = (
        np.concatenate([split.inputs[view] for view in views], axis=1) for split in (dataset.train, dataset.test)
    )
    model = LogisticRegression(C=1.0, max_iter=1000).fit(train, dataset.train.labels)
    assert 100 * model.score(test, dataset.test.labels) == pytest.approx(accuracy, abs=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": ["fou", "zernike"]}, "unknown modality 'zernike'; there are: fac, fou, kar, mor, pix, zer"),
        ({"views": ["fou", "fou"]}, "twice"),
        ({"views": []}, "at least one"),
        ({"pix_as_image": True}, "pix is none of the views"),
        ({"split_seed": -1}, "greater than or equal to 0"),
        ({"train_samples": 100}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MfeatOptions(**options)


def test_the_best_test_epoch_is_not_recorded() -> None:
    assert Mfeat.test_peak is False
