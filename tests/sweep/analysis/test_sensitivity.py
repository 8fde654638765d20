"""Sensitivity: the movement of a mean over values, against the noise of seeds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support.seed_frames import frame, of_many_blocks

from sweep.analysis.sensitivity import Sensitivity, sensitivity
from sweep.analysis.statistics import estimate_runs


def test_sensitivity_over_unequal_numbers_of_seeds_is_a_test_without_blocks() -> None:
    # Seeds in common are too few to be blocks: of two values that is the two-sample t test.
    few, many = [0.50, 0.53], [0.54, 0.52, 0.56, 0.55, 0.53, 0.57]
    found = sensitivity(frame({1: few, 2: many}), "x", "m")
    assert found.p == pytest.approx(stats.ttest_ind(few, many).pvalue, rel=1e-4)
    assert found.n == (2, 6)
    # The noise weighs each value by its degrees of freedom.
    freedom = (np.var(few, ddof=1) + 5 * np.var(many, ddof=1)) / 6
    assert found.noise == pytest.approx(math.sqrt(freedom))
    # A value with one seed has a mean and no deviation.
    single = sensitivity(frame({1: [0.5], 2: many}), "x", "m")
    assert (single.noise, single.n) == (pytest.approx(np.std(many, ddof=1)), (1, 6))
    assert single.p == pytest.approx(stats.ttest_ind([0.5], many).pvalue, rel=1e-4)


@pytest.mark.filterwarnings("error::pandas.errors.PerformanceWarning")
def test_rows_of_many_columns_are_judged_like_others() -> None:
    rows = frame({1: [0.5, 0.6], 2: [0.7, 0.7]})
    assert sensitivity(of_many_blocks(rows), "x", "m") == sensitivity(rows, "x", "m")
    assert estimate_runs(of_many_blocks(rows), "m") == estimate_runs(rows, "m")


def test_sensitivity_by_hand() -> None:
    # Means 0.50 and 0.58; deviations 0.01 (n = 3) and 0.02 (n = 3): pooled sqrt((2 * 1e-4 + 2 * 4e-4) / 4).
    found = sensitivity(frame({0.1: [0.49, 0.50, 0.51], 0.2: [0.56, 0.58, 0.60]}), "x", "m")
    noise = math.sqrt(2.5e-4)
    assert found.span == pytest.approx(0.08)
    assert found.noise == pytest.approx(noise)
    assert found.ratio == pytest.approx(0.08 / noise)
    # Of two values with seeds as blocks it is the paired t test.
    assert found.p == pytest.approx(stats.ttest_rel([0.49, 0.50, 0.51], [0.56, 0.58, 0.60]).pvalue, rel=1e-4)
    assert (found.best, found.worst, found.n) == (0.2, 0.1, (3, 3))
    assert found.verdict().startswith("Sensitive: the mean moves by 8.0 points over 2 values")
    assert "best at 0.2, worst at 0.1" in found.verdict()
    words = sensitivity(frame({"head": [0.49, 0.50, 0.51], "all": [0.56, 0.58, 0.60]}), "x", "m")
    assert "best at all, worst at head" in words.verdict()


def test_a_value_that_diverges_under_every_seed_is_what_sensitive_means() -> None:
    level = [0.50, 0.51, 0.49]
    rows = frame({0.1: level, 0.2: level[::-1], 0.9: ["diverged", "diverged", "failed"]})
    found = sensitivity(rows, "x", "m")
    assert found.diverged == ((0.9, 3),)
    assert found.verdict().startswith("Sensitive: training diverges under every seed at 0.9 (3 seeds). Over the other")
    alone = sensitivity(frame({0.1: level, 0.9: ["diverged"]}), "x", "m").verdict()
    assert alone.startswith("Sensitive: training diverges under every seed at 0.9 (1 seed).")
    # One that has not ended under every seed is no such case, and one that failed otherwise tells nothing.
    begun = sensitivity(frame({0.1: level, 0.2: level, 0.9: ["diverged", "running"]}), "x", "m")
    assert begun.diverged == ()
    broken = sensitivity(frame({0.1: level, 0.2: level, 0.9: ["failed", "failed"]}), "x", "m")
    assert broken.diverged == ()
    assert broken.verdict().endswith("Nothing is known at 0.9: every run failed.")
    assert not broken.verdict().startswith("Sensitive")


def test_seeds_that_diverged_are_told_beside_the_survivors() -> None:
    found = sensitivity(frame({0.1: [0.5, 0.51, 0.49], 0.2: [0.6, "diverged", 0.61]}), "x", "m")
    assert found.unstable == ((0.2, 1, 3),)
    assert "Training diverged at 0.2 (1 of 3 seeds): the means there are of the survivors." in found.verdict()


def test_sensitivity_without_effect_is_called_chance() -> None:
    rows = frame({0.1: [0.49, 0.50, 0.51], 0.2: [0.48, 0.50, 0.52], 0.3: [0.50, 0.51, 0.52]})
    assert sensitivity(rows, "x", "m").verdict().startswith("No sensitivity shown: the mean")


def test_no_sensitivity_is_never_said_without_what_would_have_been_found() -> None:
    rows = frame({0.1: [0.49, 0.50, 0.51], 0.2: [0.48, 0.50, 0.52], 0.3: [0.50, 0.51, 0.52]})
    found = sensitivity(rows, "x", "m")
    least = f"a range of {100 * found.detectable():.1f} points would have been found with 80 % probability."
    assert found.verdict().endswith(least)
    assert found.detectable(4) > found.detectable()
    corrected = found.verdict(0.8, sentences=4)
    assert "p = 0.800 corrected for 4 sentences" in corrected
    assert f"a range of {100 * found.detectable(4):.1f} points" in corrected
    two = sensitivity(frame({0.1: [0.2, 0.8], 0.2: [0.9, 0.3]}), "x", "m").verdict()
    assert two.endswith("no range at all would have been found with 80 % probability.")


def test_two_seeds_of_many_values_say_that_nothing_could_have_been_found() -> None:
    rows = frame({value: [0.9, 0.91] for value in range(5)} | {5: [0.1, 0.11]})
    said = sensitivity(rows, "x", "m").verdict()
    assert "by chance so few seeds may all have collapsed at one of the values, p = 0.060" in said
    assert said.endswith("no range at all would have been found with 80 % probability.")


def test_sensitivity_is_judged_within_seeds() -> None:
    # Seeds differ by ten points, values by one within every seed.
    levels = np.array([0.5, 0.6, 0.7, 0.8])
    wobble = np.array([[0, 1, -1, 0], [1, 0, 0, -1], [-1, 0, 1, 0]]) / 1000
    rows = frame({x: (levels + x + wobble[i]).tolist() for i, x in enumerate((0.0, 0.01, 0.02))})
    found = sensitivity(rows, "x", "m")
    assert found.p < 0.01
    assert stats.f_oneway(*(levels + x for x in (0.0, 0.01, 0.02))).pvalue > 0.9
    assert "0.2 of it not shared by the runs of a seed" in found.verdict()


def test_noise_of_several_splits_is_that_beyond_what_a_split_shares() -> None:
    found = three_values(0.01)
    own = ", the mean of a split by 0.1 beyond what its split shares"
    for splits in (2, 3):
        said = replace(found, splits=splits).verdict()
        assert own in said
        assert f"8 runs a value on {splits} splits)" in said
        assert "not shared by the runs of a seed" not in said
    assert own not in found.verdict()
    assert ", 0.1 of it not shared by the runs of a seed" in found.verdict()


def test_sensitivity_says_where_it_cannot_judge() -> None:
    assert "one seed a value" in sensitivity(frame({1: [0.5], 2: [0.6]}), "x", "m").verdict()
    assert "fewer than two values" in sensitivity(frame({1: [0.5, 0.6], 2: ["failed"]}), "x", "m").verdict()


def test_sensitivity_without_noise() -> None:
    still = sensitivity(frame({1: [0.5, 0.5], 2: [0.5, 0.5]}), "x", "m")
    moved = sensitivity(frame({1: [0.5, 0.5], 2: [0.6, 0.6]}), "x", "m")
    assert (still.ratio, still.p) == (0, 1)
    assert moved.ratio == math.inf
    # The noise counts as that of rounding to steps of 0.1.
    assert moved.p == pytest.approx(stats.f.sf(12, 1, 1), rel=1e-6)


def three_values(gap: float) -> Sensitivity:
    """Judge values whose means lie ``gap`` apart, under eight seeds that scatter by two points together and by a tenth
    of a point alone."""
    shared = [0.01 * (3 * seed % 7) for seed in range(8)]
    first = [0.5 + level + 0.001 * (5 * seed % 3) for seed, level in enumerate(shared)]
    last = [0.5 + 2 * gap + level + 0.001 * (seed % 2) for seed, level in enumerate(shared)]
    return sensitivity(frame({0.25: first, 1.5: [0.5 + gap + level for level in shared], 2.0: last}), "x", "m")


def test_sensitive_is_what_moves_by_twice_the_noise_and_weakly_what_moves_by_less() -> None:
    said = (
        "ensitive: the mean moves by {} points over 3 values, one run between seeds by 2.3 (ratio {}; 8 seeds a value "
        "on one split), 0.1 of it not shared by the runs of a seed; more than chance gives, p < 0.001; best at 2, "
        "worst at 0.25."
    )
    assert three_values(0.02).verdict() == "Weakly s" + said.format("4.0", "1.7")
    assert three_values(0.1).verdict() == "S" + said.format("20.0", "8.8")
    assert "gives, p < 0.001 corrected for 2 sentences; best" in three_values(0.1).verdict(0.0004, 2)
    assert "gives, p = 0.001; best" in three_values(0.1).verdict(0.001)
    assert three_values(0.1).verdict(0.0499).startswith("Sensitive")
    assert three_values(0.1).verdict(0.05).startswith("No sensitivity shown")


def test_values_without_a_mean_are_told_by_their_cause() -> None:
    ends = {3: ["pruned"] * 3, 4: ["pruned", "failed"], 5: ["diverged", "pruned"], 6: ["failed", "missing"]}
    rows = frame({1: [0.5, 0.51, 0.52], 2: [0.6, 0.61, 0.65, 0.61], **ends, 7: ["failed"], 8: ["failed"]})
    found = sensitivity(rows, "x", "m")
    assert (found.pruned, found.diverged, found.unstable, found.failed) == (2, ((5, 2),), (), (7, 8))
    assert (found.values, found.n, found.splits) == (2, (3, 4), 1)
    assert found.reach == pytest.approx((0.51, 0.6175))
    assert (found.at_best, found.selected) == (pytest.approx(0.6175), False)
    assert found.verdict() == (
        "Sensitive: training diverges under every seed at 5 (2 seeds). Over the other values: Sensitive: the mean "
        "moves by 10.7 points over 2 values, one run between seeds by 1.8 (ratio 5.9; 3 to 4 seeds a value on one "
        "split); more than chance gives, p < 0.001; best at 2, worst at 1. Nothing is known at 7, 8: every run failed. "
        "2 values were stopped early and left out: over all values the range may be larger."
    )


def test_the_metric_that_selects_names_the_best_where_it_has_a_mean() -> None:
    rows = frame({1: [0.5, 0.51, 0.52], 2: [0.6, 0.61, 0.65], 3: [0.55, 0.56, 0.54]})
    chosen = rows.assign(v=1 - rows["m"])
    found = sensitivity(chosen, "x", "m", "v")
    assert (found.best, found.worst, found.selected, found.at_best) == (1, 2, True, pytest.approx(0.51))
    for select, frame_of in ((None, chosen), ("m", chosen), ("v", rows.assign(v=math.nan))):
        found = sensitivity(frame_of, "x", "m", select)
        assert (found.best, found.worst, found.selected) == (2, 1, False)


def test_of_several_runs_of_one_value_and_seed_the_first_is_judged() -> None:
    rows = frame({1: [0.5, 0.51, 0.55], 2: [0.6, 0.61, 0.62]})
    again = frame({1: [0.9, 0.1]})
    found, once = sensitivity(pd.concat([rows, again]), "x", "m"), sensitivity(rows, "x", "m")
    assert found.effect is not None
    assert once.effect is not None
    assert (found.effect.freedom, found.effect.noise) == (once.effect.freedom, once.effect.noise)
