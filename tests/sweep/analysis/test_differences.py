"""Differences to a baseline: paired within a dataset, judged together, with what could have been found."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from scipy import stats
from support.seed_frames import frame

from sweep.analysis.differences import differences, power_text
from sweep.analysis.many_to_one import detectable_difference


def test_differences_are_paired_within_a_dataset() -> None:
    rows = pd.concat([
        frame({0: [0.6, 0.7, 0.8]}, label="a"),
        frame({0: [0.1]}, label="a", dataset="other"),
        frame({0: [0.5, 0.5, "failed"]}, label="b"),
    ])  # fmt: skip
    table = differences(rows, frame({0: [0.5, 0.5, 0.5]}), "m", ["label"])
    assert table[["label", "dataset", "n"]].to_numpy().tolist() == [["a", "d", 3], ["a", "other", 0], ["b", "d", 2]]
    assert table["mean"].tolist()[::2] == pytest.approx([0.2, 0.0])
    assert math.isnan(table["p_adjusted"][1])
    assert table["comparisons"].tolist() == [2, 2, 2]
    assert table["detectable"][0] == detectable_difference(table["noise"][0], 3, 2)


def test_one_difference_has_the_interval_and_p_of_a_paired_t_test() -> None:
    better, joint = frame({0: [0.62, 0.74, 0.81, 0.9]}), frame({0: [0.5, 0.55, 0.7, 0.65]})
    (row,) = differences(better, joint, "m", ["label"]).to_dict("records")
    expected = stats.ttest_rel(better["m"], joint["m"])
    assert (row["p"], row["p_adjusted"]) == pytest.approx((expected.pvalue, expected.pvalue), rel=1e-5)
    interval = expected.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    (far,) = differences(frame({0: [1.0, 0.2, 1.0]}), frame({0: [0.0, 0.1, 0.0]}), "m", ["label"]).to_dict("records")
    assert far["high"] == 1


def test_the_family_is_that_of_all_datasets() -> None:
    better, joint = frame({0: [0.62, 0.74, 0.81, 0.9]}), frame({0: [0.5, 0.55, 0.7, 0.65]})
    both = [pd.concat([each, each.assign(dataset="other")]) for each in (better, joint)]
    table = differences(*both, "m", ["label"])
    assert table["p_adjusted"].tolist() == pytest.approx([2 * p for p in table["p"]], rel=1e-5)
    assert table["comparisons"].tolist() == [2, 2]


def test_seeds_that_agree_count_as_noisy_as_rounding() -> None:
    # On d all seeds are one step of 0.01 above joint training; "other" has a step of its own.
    same, above = frame({0: [0.5, 0.6, 0.7]}), frame({0: [0.51, 0.61, 0.71]})
    other = frame({0: [0.1, 0.1004, 0.2]}, dataset="other")
    table = differences(pd.concat([above, other]), pd.concat([same, other]), "m", ["label"])
    assert table["p"].tolist() == pytest.approx([2 * stats.t.sf(math.sqrt(18), 2), 1])
    above, same = (each.rename(columns={"m": "test_accuracy"}).assign(test_samples=100_000) for each in (above, same))
    assert differences(above, same, "test_accuracy", ["label"])["p"].tolist() == pytest.approx([0.002])


def test_differences_count_the_seeds_that_were_lost() -> None:
    rows = frame({0: ["failed", "diverged", 0.6, 0.7, "running"]})
    (row,) = differences(rows, frame({0: [0.5, 0.5, "pruned"]}), "m", ["label"]).to_dict("records")
    assert (row["n"], row["lost"], row["seeds"], row["baseline_lost"]) == (0, 2, 5, 1)
    assert differences(rows.iloc[:0], rows, "m", ["label"]).empty


def test_of_several_runs_of_one_seed_the_first_counts() -> None:
    twice = frame({0: [0.6, 0.7, 0.1, 0.9]}, seeds=[0, 1, 1, 0])
    base = frame({0: [0.5, 0.5, 0.0]}, seeds=[0, 1, 0])
    (row,) = differences(twice, base, "m", ["label"]).to_dict("records")
    assert (row["n"], row["mean"]) == (2, pytest.approx(0.15))
    twice.loc[0, "status"] = "failed"
    (row,) = differences(twice, base, "m", ["label"]).to_dict("records")
    assert (row["n"], row["mean"]) == (2, pytest.approx((0.4 + 0.2) / 2))


@pytest.mark.parametrize(
    ("detectable", "said"),
    [
        ([0.012, 0.02], "a difference of 1.2 to 2.0 points would have been found with 80 % probability"),
        ([0.012, math.nan], "a difference of 1.2 points would have been found with 80 % probability"),
        ([0.012, math.inf], "a difference of 1.2 points would have been found with 80 % probability at best"),
        ([math.inf], "no difference at all would have been found with 80 % probability"),
        ([math.nan], ""),
    ],
)
def test_power_is_said(detectable: list[float], said: str) -> None:
    assert power_text(pd.DataFrame({"detectable": detectable})) == said


def test_several_splits_are_judged_by_their_means_over_common_runs() -> None:
    def on_splits(values: dict[int, list[float]], label: str) -> pd.DataFrame:
        return pd.concat([frame({0: found}, split=split, label=label) for split, found in values.items()])

    joint = on_splits({0: [0.5, 0.6], 1: [0.7, 0.8], 2: [0.9, 0.9]}, "joint")
    other = on_splits({0: [0.52], 1: [0.73, 0.83], 2: [0.94, 0.94], 5: [0.1]}, "b")
    (row,) = differences(other, joint, "m", ["label"]).to_dict("records")
    assert (row["n"], row["splits"], row["repeats"], row["seeds"]) == (5, 3, 3, 6)
    means = frame({0: [0.55 + 0.02, 0.75 + 0.03, 0.9 + 0.04]}), frame({0: [0.55, 0.75, 0.9]})
    (same,) = differences(*means, "m", ["label"]).to_dict("records")
    assert (row["mean"], row["p"], row["low"]) == pytest.approx((same["mean"], same["p"], same["low"]))
    assert row["detectable"] == pytest.approx(same["detectable"])
