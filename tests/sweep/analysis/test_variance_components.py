"""What moves an accuracy: seeds, splits and test samples, apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.analysis.items import sampling_deviation
from sweep.analysis.variance_components import components, components_table
from sweep.runs.predictions import PREDICTIONS, SamplePredictions


def runs_of(values: dict[int, list[float]], **columns: Any) -> pd.DataFrame:
    """Finished runs: split -> accuracy of each seed."""
    return pd.DataFrame([
        {"hash": f"{split}-{seed}", "split": split, "seed": seed, "status": "done", "test_accuracy": value, **columns}
        for split, found in values.items()
        for seed, value in enumerate(found)
    ])  # fmt: skip


def predict(folder: Path, name: str, right: list[int]) -> np.ndarray:
    """Leave predictions of samples of class 0, of which those given are right."""
    (folder / name).mkdir()
    classes = 1 - np.array([right], np.int32)
    confidence = np.zeros(classes.shape, np.float32)
    found = SamplePredictions(("multi",), classes, confidence, np.zeros(len(right), int))
    (folder / name / PREDICTIONS).write_bytes(found.to_bytes())
    return np.array(right, float)


def test_unequal_numbers_of_seeds_weigh_by_what_they_tell(tmp_path: Path) -> None:
    values = {0: [0.8, 0.82, 0.9], 1: [0.6, 0.64], 2: [0.7]}
    found = components(runs_of(values), tmp_path)
    squares = sum(float(np.var(each, ddof=1)) * (len(each) - 1) for each in values.values() if len(each) > 1)
    assert found.seed == pytest.approx(math.sqrt(squares / 3))
    between = np.var([np.mean(each) for each in values.values()], ddof=1)
    assert found.split == pytest.approx(math.sqrt(between - squares / 3 * (1 / 3 + 1 / 2 + 1) / 3))
    assert (found.runs, found.splits) == (6, 3)


def test_splits_that_differ_by_less_than_their_seeds_scatter_differ_by_nothing(tmp_path: Path) -> None:
    found = components(runs_of({0: [0.5, 0.9], 1: [0.6, 0.82]}), tmp_path)
    assert found.split == 0
    single = components(runs_of({0: [0.5], 1: [0.7]}), tmp_path)
    assert math.isnan(single.seed)
    assert single.split == pytest.approx(np.std([0.5, 0.7], ddof=1))


def test_unfinished_runs_and_an_absent_metric_tell_nothing(tmp_path: Path) -> None:
    runs = runs_of({0: [0.5, 0.6, 0.1]})
    runs.loc[2, "status"] = "failed"
    more = pd.concat([runs, runs_of({1: [math.nan]})])
    found = components(more, tmp_path)
    assert (found.runs, found.splits, found.seed) == (2, 1, pytest.approx(np.std([0.5, 0.6], ddof=1)))
    absent = components(runs, tmp_path, "test_map")
    assert (absent.runs, absent.splits) == (0, 0)
    assert np.isnan([absent.seed, absent.split, absent.sample]).all()


def test_the_samples_of_each_split_are_drawn_anew(tmp_path: Path) -> None:
    first = [predict(tmp_path, "0-0", [1, 1, 0, 1]), predict(tmp_path, "0-1", [1, 0, 0, 1])]
    other = [predict(tmp_path, "1-0", [1, 0, 0, 0])]
    runs = runs_of({0: [0.75, 0.5], 1: [0.25]})
    expected = (sampling_deviation(first) ** 2 + sampling_deviation(other) ** 2) / 2
    assert components(runs, tmp_path).sample == pytest.approx(math.sqrt(expected))


def test_the_table_has_a_row_a_group_in_order_of_appearance(tmp_path: Path) -> None:
    runs = pd.concat([runs_of({0: [0.5, 0.6]}, label="z", dataset="d"), runs_of({0: [0.7]}, label="a", dataset="d")])
    table = components_table(runs, tmp_path, ["label", "dataset"])
    assert list(table) == ["label", "dataset", "seed", "split", "sample", "runs", "splits"]
    assert table[["label", "dataset", "runs"]].to_numpy().tolist() == [["z", "d", 2], ["a", "d", 1]]
    assert table["seed"][0] == pytest.approx(np.std([0.5, 0.6], ddof=1))
    assert components_table(runs.iloc[:0], tmp_path, ["label"]).empty
