from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from data.base import Dataset
from data.embedded import read_embedded
from data.watch import SENSORS, SHORTEST, Watch, WatchOptions, cut, subjects, windows

DRAWN = {"test_subjects": None, "validation_subjects": None}


def options(**given: Any) -> WatchOptions:
    return WatchOptions.model_validate(given)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Watch.load(WatchOptions())  # type: ignore[call-arg]


def test_the_file_holds_every_combination_once() -> None:
    offsets, labels, subject, side = read_embedded("watch", "offsets", "labels", "subject", "side")
    assert (offsets[0], offsets[-1], len(offsets)) == (0, 244102, 141)
    assert (np.diff(offsets).min(), np.diff(offsets).max()) == (SHORTEST, 2618)
    found = list(zip(subject.tolist(), labels.tolist(), side.tolist(), strict=True))
    assert found == [(s, c, d) for s in range(1, 11) for c in range(7) for d in range(2)]


def test_windows_lie_within_their_series() -> None:
    series, starts = windows(np.array([0, 9, 12, 20]), 4, 2)
    # 9 steps: at 0, 2, 4; 3 steps: none; 8 steps: at 12, 14, 16.
    assert series.tolist() == [0, 0, 0, 2, 2, 2]
    assert starts.tolist() == [0, 2, 4, 12, 14, 16]


def test_a_window_is_channels_by_steps() -> None:
    signal = np.arange(12, dtype=np.float16).reshape(6, 2)
    assert cut(signal, np.array([1]), 3).tolist() == [[[2, 4, 6], [3, 5, 7]]]


def test_windows_of_the_default() -> None:
    offsets, labels, subject = read_embedded("watch", "offsets", "labels", "subject")
    series, _ = windows(offsets, 100, 50)
    assert len(series) == 4677
    assert np.bincount(labels[series]).tolist() == [502, 770, 780, 718, 723, 583, 601]
    assert np.bincount(subject[series])[1:].tolist() == [561, 540, 305, 295, 490, 478, 524, 482, 483, 519]


def test_the_default_dataset(dataset: Dataset) -> None:
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [2191, 1002, 1484]
    assert dataset.shapes() == dict.fromkeys(SENSORS, (3, 100))
    assert dataset.shapes() == {name: sample.shape for name, sample in Watch.samples(options()).items()}
    assert dataset.notes == ("people: training 1, 2, 3, 4, 5; validation 6, 7; test 8, 9, 10",)
    assert {values.dtype for values in dataset.train.inputs.values()} == {torch.float32}  # type: ignore[union-attr]
    majority = [split.labels.bincount().max() / len(split) for split in (dataset.test, dataset.validation)]
    assert majority == pytest.approx([0.175, 0.169], abs=5e-4)


@pytest.mark.parametrize(
    ("sensor", "means", "deviations"),
    [
        ("accelerometer", (-0.0152, 0.4059, -0.1889), (0.9333, 0.5171, 0.5977)),
        ("gyroscope", (0.0106, -0.0060, 0.0072), (1.0904, 2.6548, 1.1573)),
    ],
)
def test_every_channel_is_standardised_by_the_training_windows(
    dataset: Dataset, sensor: str, means: tuple[float, ...], deviations: tuple[float, ...]
) -> None:
    offsets, signal = read_embedded("watch", "offsets", sensor)
    _, starts = windows(offsets, 100, 50)
    # The people are in order: the first 2,191 windows are those of subjects 1 to 5, the last 1,484 of 8 to 10.
    raw = torch.from_numpy(cut(signal, starts, 100))
    scale = torch.tensor(deviations)[:, None]
    for split, part in ((dataset.train, raw[:2191]), (dataset.test, raw[-1484:])):
        expected = (part - torch.tensor(means)[:, None]) / scale
        torch.testing.assert_close(split.inputs[sensor], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("seed", "test", "validation"),
    [
        (0, [4, 5, 7], [3, 6]),
        (1, [1, 3, 4], [5, 9]),
        (2, [2, 3, 5], [1, 9]),
        (3, [1, 2, 4], [9, 10]),
        (4, [4, 6, 8], [3, 9]),
    ],
)
def test_people_are_drawn_by_split_seed(seed: int, test: list[int], validation: list[int]) -> None:
    train, *held_out = subjects(options(**DRAWN, split_seed=seed))
    assert held_out == [validation, test]
    assert sorted(train + test + validation) == list(range(1, 11))


def test_what_split_seed_draws() -> None:
    assert Watch.split_draws(options()) == "nothing"
    assert Watch.split_draws(options(**DRAWN)) == "test"
    assert subjects(options(split_seed=3)) == subjects(options()) == ([1, 2, 3, 4, 5], [6, 7], [8, 9, 10])


def test_the_order_of_people_does_not_count() -> None:
    assert options(test_subjects=[10, 8, 9]) == options(test_subjects=[8, 9, 10])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"test_subjects": None}, "set both to null"),
        ({"test_subjects": [8, 11]}, "there is no subject 11; there are 1 to 10"),
        ({"test_subjects": [7, 8]}, "subject 7 is named twice"),
        ({"test_subjects": []}, "at least one subject for each split"),
        ({"test_subjects": [1, 2, 3, 4, 5, 8, 9, 10]}, "at least one subject for each split"),
        ({"window": 948}, "less than or equal to 947"),
        ({"window": 3}, "greater than or equal to 4"),
        ({"step": 0}, "greater than or equal to 1"),
        ({"mirror": True}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(**given)


def test_the_best_test_epoch_is_not_recorded() -> None:
    assert Watch.test_peak is False
