"""The table over datasets: what is said of each method, and of the tests."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.over_datasets import OverDatasets
from sweep.report.over_datasets import dataset_blocks

ROWS = [
    {"label": "iprm", "rank": 1.25, "rank_low": 1.0, "rank_high": 1.5, "wins": 3, "ties": 1, "losses": 0,
     "improvement": 0.8125, "improvement_low": 0.7, "improvement_high": 0.94},
    {"label": "joint", "rank": 1.75, "rank_low": 1.5, "rank_high": 2.0, "wins": 0, "ties": 4, "losses": 0,
     "improvement": math.nan, "improvement_low": math.nan, "improvement_high": math.nan},
]  # fmt: skip


def compared(**changed: Any) -> OverDatasets:
    found = OverDatasets(pd.DataFrame(ROWS), tuple("abcd"), "test_macro_f1", math.nan, math.nan, ())
    return replace(found, **changed)


def note(**changed: Any) -> str:
    (block,) = dataset_blocks(compared(**changed))
    assert block.table is not None
    return block.table.note


def test_a_method_stands_with_its_rank_and_joint_training_without_a_comparison() -> None:
    (block,) = dataset_blocks(compared())
    assert block.table is not None
    assert block.table.rows == [
        ["iprm", "1.25 (1.00 to 1.50)", "3 / 1 / 0", "81 (70 to 94)"],
        ["joint", "1.75 (1.50 to 2.00)", "–", "–"],
    ]
    assert len(block.table.columns) == 4
    assert block.table.note.startswith("By test macro f1 over a, b, c, d; 1 is the best rank.")


def test_of_few_datasets_it_is_said_from_how_many_on_ranks_are_tested() -> None:
    assert note().endswith("Ranks are tested over datasets from 5 of these on.")
    assert "from 5 of these" not in note(datasets=tuple("abcde"))
    assert "Friedman" not in note()


@pytest.mark.parametrize(("p", "said"), [(0.0009, "p < 0.001"), (0.001, "p = 0.001"), (0.0421, "p = 0.042")])
def test_the_test_over_datasets_is_told_with_its_critical_difference(p: float, said: str) -> None:
    text = note(datasets=tuple("abcde"), friedman_p=p, critical=1.4826)
    assert f"Friedman's test over datasets: {said}; average ranks further apart than 1.48 differ" in text
    assert "from 5 of these" not in text


def test_what_lacks_runs_on_a_dataset_is_named() -> None:
    assert note(left_out=("aug", "bss")).endswith(" Left out, for lack of runs on some dataset: aug, bss.")
    assert "Left out" not in note()


def test_one_dataset_has_no_such_table() -> None:
    assert dataset_blocks(None) == []
