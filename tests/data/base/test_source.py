"""The option that every dataset has leaves no trace where nothing is corrupted; encoders are chosen by shape."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

import data
from data.base import SampleType, Split, require_modalities, usual_encoder
from data.digits import Digits, DigitsOptions


def options(**given: object) -> DigitsOptions:
    return DigitsOptions.model_validate(given)


def test_records_of_clean_data_are_what_they_were_before_there_was_the_option() -> None:
    assert "corrupt" not in options().model_dump(mode="json")
    assert options(corrupt={"left": {"noise": 0}, "profile": {"noise": 1, "share": 0}}) == options()


def test_records_of_corrupted_data_are_read_again() -> None:
    given = options(corrupt={"left": {"noise": 1, "share": 0.5, "segment": True}})
    assert given.model_dump(mode="json")["corrupt"] == {
        "left": {"noise": 1.0, "share": 0.5, "drop": 0.0, "segment": False, "shuffle": 0.0, "where": "test"}
    }
    assert options(**given.model_dump(mode="json")) == given
    assert given.clean() == options()


def test_only_known_keys_are_taken() -> None:
    with pytest.raises(ValidationError, match="nois"):
        options(corrupt={"left": {"nois": 1}})


def test_a_dataset_loads_clean_and_is_corrupted_as_its_options_say() -> None:
    given = options(corrupt={"profile": {"noise": 1}}, split_seed=2, train_samples=50)
    clean, corrupted = Digits.load(given), data.load("digits", given)
    every = torch.arange(len(clean.test))
    assert isinstance(clean.test.inputs["profile"], torch.Tensor)
    assert torch.equal(clean.test.gather(every).inputs["left"], corrupted.test.gather(every).inputs["left"])
    assert not torch.equal(clean.test.gather(every).inputs["profile"], corrupted.test.gather(every).inputs["profile"])
    other = data.load("digits", given.model_copy(update={"split_seed": 3}))
    key = (dataset.test.inputs["profile"].key for dataset in (corrupted, other))  # type: ignore[union-attr]
    assert len(set(key)) == 2


def test_classes_that_a_split_lacks_are_noted_of_every_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Digits.load(options(train_samples=50))
    few = replace(loaded, train=Split(loaded.train.inputs, loaded.train.labels.clamp(max=8)), notes=("first",))
    monkeypatch.setattr(Digits, "load", lambda _: few)
    untrained = "1 class ('9') that no training sample has, and no model can learn"
    assert data.load("digits", options()).notes == ("first", f"validation: {untrained}", f"test: {untrained}")


@pytest.mark.parametrize(
    ("sample", "encoder"),
    [
        (SampleType((3, 8)), "conv1d"),
        (SampleType((3, 7)), "mlp"),
        (SampleType((2, 8), tokens=True), "mlp"),
        (SampleType((1, 4, 4)), "cnn"),
        (SampleType((3, 3, 9)), "mlp"),
        (SampleType((3, 9, 3)), "mlp"),
        (SampleType((100,)), "mlp"),
        (SampleType((3, 2, 9, 9)), "mlp"),
    ],
)
def test_the_usual_encoder_goes_by_the_shape_of_a_sample(sample: SampleType, encoder: str) -> None:
    assert usual_encoder(sample) == encoder


def test_require_modalities_sorts_and_refuses() -> None:
    assert require_modalities(["c", "a"], ["a", "b", "c"]) == ("a", "c")
    with pytest.raises(ValueError, match="unknown modality 'd'; there are: a, b, c"):
        require_modalities(["a", "d"], ["a", "b", "c"])
    with pytest.raises(ValueError, match="twice"):
        require_modalities(["a", "a"], ["a", "b"])
    with pytest.raises(ValueError, match="at least one"):
        require_modalities([], ["a", "b"])
