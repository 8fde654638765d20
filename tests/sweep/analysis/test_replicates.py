"""What intervals are over is said, and what they say nothing of."""

from __future__ import annotations

import pandas as pd
import pytest

from sweep.analysis.replicates import repeats_text, split_sentences, splits_text


@pytest.mark.parametrize(
    ("repeats", "splits", "said"),
    [
        ([3, 3], [1, 1], "3 seeds on one split"),
        ([2, 4], [1, 1], "2 to 4 seeds on one split"),
        ([1], [1], "1 seed on one split"),
        ([3, 3], [3, 3], "the means of 3 splits"),
        ([5, 3], [1, 3], "5 seeds on one split or the means of 3 splits"),
    ],
)
def test_tests_say_what_they_are_over(repeats: list[int], splits: list[int], said: str) -> None:
    assert repeats_text(pd.Series(repeats), pd.Series(splits)) == said


@pytest.mark.parametrize(
    ("splits", "draws", "said"),
    [
        ([0, 0], "test", "over seeds on one split (split_seed 0); they say nothing of other splits"),
        ([None], None, "over seeds on one split, the dataset's own"),
        ([4], "nothing", "over seeds on one split, the dataset's own"),
        ([0, 2], "test", "over 2 splits (split_seed 0, 2), each with test samples of its own"),
        (
            [0, 2],
            "validation",
            "with other validation samples and the same test samples; they say nothing of other test",
        ),
        ([0, 2], None, "over 2 splits (split_seed 0, 2)."),
    ],
)
def test_a_report_says_on_which_splits_it_rests(splits: list[int | None], draws: str | None, said: str) -> None:
    runs = pd.DataFrame({"dataset": "d", "split": splits, "split_draws": draws})
    (sentence,) = split_sentences(runs)
    assert sentence.startswith("d: intervals are ")
    assert said in sentence
    assert splits_text(1) == "on one split"
    assert splits_text(3) == "on each of 3 splits"
