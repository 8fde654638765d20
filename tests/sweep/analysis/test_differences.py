"""Differences to a baseline: paired within a dataset, judged together, with what could have been found."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support.seed_frames import frame

from sweep.analysis.differences import _between_text, differences, power_between, power_text
from sweep.analysis.many_to_one import detectable_difference
from sweep.analysis.noise import pooled_noise


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
        ([0.5, 1.5], "a difference of 50.0 points would have been found with 80 % probability at best"),
        ([1.0], "no difference at all would have been found with 80 % probability"),
        ([math.inf], "no difference at all would have been found with 80 % probability"),
        ([math.nan], ""),
    ],
)
def test_power_is_said(detectable: list[float], said: str) -> None:
    assert power_text(pd.DataFrame({"detectable": detectable})) == said


FOUND = "would have been found with 80 % probability"


def test_what_can_be_found_between_any_two_is_told_of_their_noise() -> None:
    values = np.array([[0.50, 0.52, 0.55], [0.60, 0.66, 0.61], [0.71, 0.70, 0.74]])
    rows = frame(dict(enumerate(values.tolist())))
    points = 100 * detectable_difference(pooled_noise(values)[0], 3, 2)
    between = "of m between one that was named beforehand and any other"
    said = f"of 3 configurations with 3 seeds on d, a difference of {points:.1f} points {between} {FOUND}"
    assert power_between(rows, "m", ["x"]) == said
    # What lost a run is left out of it; nor does a second dataset of one configuration say anything.
    lost = frame({9: [0.9, "failed", 0.9]})
    one = frame({0: [0.1, 0.2]}, dataset="e")
    assert power_between(pd.concat([lost, rows, one], ignore_index=True), "m", ["x"]) == said
    two = power_between(pd.concat([rows, rows.assign(dataset="c")], ignore_index=True), "m", ["x"])
    assert two == f"{said}; {said.replace('on d', 'on c')}"
    assert power_between(one, "m", ["x"]) == power_between(rows.iloc[:0], "m", ["x"]) == ""


def test_what_agrees_can_be_told_apart_beyond_rounding_alone() -> None:
    rows = frame({0: [0.5, 0.5, 0.5], 1: [0.6, 0.6, 0.6]})
    points = 100 * detectable_difference(0.1 / math.sqrt(12), 3, 1)
    assert f"a difference of {points:.1f} points of m between" in power_between(rows, "m", ["x"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {0: [0.5], 1: [0.6]},
            "of 2 configurations with 1 seed on d, no difference of m can be judged: nothing repeats",
        ),
        (
            {0: [0.1, 0.9], 1: [0.9, 0.1]},
            "of 2 configurations with 2 seeds on d, no difference at all of m between one",
        ),
    ],
)
def test_without_repeats_or_with_much_noise_nothing_can_be_found(
    values: dict[object, list[float | str]], said: str
) -> None:
    assert power_between(frame(values), "m", ["x"]).startswith(said)


@pytest.mark.parametrize(
    ("points", "said"),
    [(1.0, "a difference of 100.0 points of"), (1.5, "no difference at all"), (math.inf, "no difference at all")],
)
def test_no_share_differs_by_more_than_a_whole(points: float, said: str) -> None:
    assert _between_text("d", "2 configurations", points, "test_m").startswith(f"of 2 configurations on d, {said}")


def test_between_any_two_on_several_splits_the_means_of_the_splits_count() -> None:
    splits = {0: ([0.5, 0.6], [0.6, 0.8]), 1: ([0.7, 0.7], [0.9, 0.7]), 2: ([0.5, 0.7], [0.8, 0.8])}
    rows = pd.concat([frame({0: a, 1: b}, split=split) for split, (a, b) in splits.items()], ignore_index=True)
    points = 100 * detectable_difference(pooled_noise(np.array([[0.55, 0.7, 0.6], [0.7, 0.8, 0.8]]))[0], 3, 1)
    said = power_between(rows, "m", ["x"])
    assert said.startswith(f"of 2 configurations with 3 splits on d, a difference of {points:.1f} points of m")


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
