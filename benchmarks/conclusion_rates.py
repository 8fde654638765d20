"""How often the report's conclusions are wrong where nothing differs.

    python -m benchmarks.conclusion_rates [--sweeps 2000] [--methods 7] [--seeds 2 3 5 10]

Sweeps of equal methods and joint training are drawn at random, values about 0.9 (skewed ones about 0.98) with a
deviation of one point between seeds, half of its variance shared by all methods under a seed, and judged by
``sweep.analysis.statistics`` as a report judges them. The cases:

- normal: as they are; 1/50, 1/100, 1/400: rounded to the multiples that a test split of so many samples allows;
- skewed: one minus an exponential of two points, so that values crowd below 1;
- collapsed: a tenth of the runs, drawn at random, ends at 0.1;
- noisy method, noisy joint: one scatters twice as much as the others, without shared seeds.

Printed is, for each case and number of seeds, the share of sweeps in which any method is called better or worse than
joint training (5 % at most are wanted): by plain paired t tests with Holm's correction, and as the report judges; the
power of both, and of what the report says that it would have found. Then the share of 95 % intervals that hold the
expected value of their configuration; the share of reports that call a hyperparameter without effect sensitive; and the
power of that.

Of 2000 sweeps of seven methods at 2, 3, 5, 10 seeds the report claims a difference that is none in 0, 1.4 to 2.5, 0.9
to 3.2, 1.4 to 4.2 % of the cases of equal noise, 0, 3.1, 2.8, 4.4 % with a noisy method and 0, 3.9, 3.4, 3.7 % with
noisy joint training (paired tests: 3.6 to 55.6, 2.9 to 17.8, 0.4 to 5.0, 1.1 to 4.5 %). It finds two deviations in 0,
20, 50, 93 %, three in 0, 51, 88, 100 % (paired tests: 2, 5, 23, 79 and 3, 11, 54, 99 %).
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import log_ndtr, stdtr
from scipy.stats import f_oneway

from sweep.analysis.many_to_one import detectable_difference, many_to_one, seeds_needed
from sweep.analysis.statistics import estimate, holm, rounding_noise, smallest_step
from sweep.analysis.two_way import SIGNIFICANCE, value_effect

CASES = ("normal", "1/50", "1/100", "1/400", "skewed", "collapsed")
UNEQUAL = ("noisy method", "noisy joint")
NOISE = 0.01


def draw(case: str, sweeps: int, groups: int, seeds: int, random: np.random.Generator) -> np.ndarray:
    """Draw the values of groups that do not differ, [sweeps, groups, seeds], each a share."""
    shared, own = random.standard_normal((sweeps, 1, seeds)), random.standard_normal((sweeps, groups, seeds))
    mixed = np.sqrt(0.5) * (shared + own)
    if case == "skewed":
        return np.clip(1 + 2 * NOISE * log_ndtr(-mixed), 0, 1)
    values = 0.9 + NOISE * mixed
    if case == "collapsed":
        return np.where(random.random(values.shape) < 0.1, 0.1, values)
    if case != "normal":
        items = int(case.removeprefix("1/"))
        values = np.round(values * items) / items
    return np.clip(values, 0, 1)


def draw_unequal(case: str, sweeps: int, groups: int, seeds: int, random: np.random.Generator) -> np.ndarray:
    """Draw the values of groups that do not differ but in their noise, [sweeps, groups, seeds]: that of one is twice
    that of the others, the baseline's (the first) or a method's."""
    values = NOISE * random.standard_normal((sweeps, groups, seeds))
    values[:, 0 if case == "noisy joint" else 1] *= 2
    return 0.9 + values


def false_claims(case: str, seeds: int, methods: int, sweeps: int) -> tuple[float, float]:
    """Give the share of sweeps in which any of equal methods is called better or worse than joint training, by paired t
    tests that Holm corrects, and by the report's test of many to one."""
    random = np.random.default_rng([(*CASES, *UNEQUAL).index(case), seeds, methods])
    drawn = draw_unequal if case in UNEQUAL else draw
    claims = [_claims(values) for values in drawn(case, sweeps, methods + 1, seeds, random)]
    return float(np.mean([c[0].any() for c in claims])), float(np.mean([c[1].any() for c in claims]))


def _claims(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tell which rows of values [methods + 1, seeds] are called better or worse than the first: by paired t tests, and
    by the report's test."""
    differences = (values[1:] - values[:1]).round(12)
    mean, deviation = differences.mean(-1), np.maximum(differences.std(-1, ddof=1), 1e-15)
    paired = 2 * stdtr(values.shape[1] - 1, -np.abs(mean / deviation) * np.sqrt(values.shape[1]))
    ours = many_to_one(values, rounding_noise(smallest_step(values.ravel()))).p_adjusted
    return holm(paired) < SIGNIFICANCE, ours < SIGNIFICANCE


def difference_power(difference: float, seeds: int, methods: int, sweeps: int) -> tuple[float, float]:
    """Give the share of sweeps in which one method, better by so many deviations of a run, is found among equal ones:
    by paired t tests that Holm corrects, and by the report's test of many to one."""
    random = np.random.default_rng([seeds, methods])
    values = 0.9 + NOISE * random.standard_normal((sweeps, methods + 1, seeds))
    values[:, 1] += difference * NOISE
    found = [[claimed[0] for claimed in _claims(each)] for each in values]
    return float(np.mean([f[0] for f in found])), float(np.mean([f[1] for f in found]))


def coverage(case: str, seeds: int, sweeps: int) -> float:
    """Give the share of intervals that hold the expected value, of seven configurations in each sweep."""
    random = np.random.default_rng([CASES.index(case), seeds])
    truth = {"skewed": 1 - 2 * NOISE, "collapsed": 0.9 * 0.9 + 0.1 * 0.1}.get(case, 0.9)
    held = []
    for values in draw(case, sweeps, 7, seeds, random):
        step = smallest_step(values.ravel())
        held += [found.low <= truth <= found.high for found in (estimate(each, step=step) for each in values)]
    return float(np.mean(held))


def judged(values: np.ndarray, step: float) -> tuple[float, float]:
    """Give the p-values of values [values, seeds] of one hyperparameter: one-way F test, and the report's."""
    places, seeds = np.indices(values.shape)
    alone = f_oneway(*values).pvalue if np.ptp(values) else 1.0
    ours = value_effect(values.ravel(), places.ravel(), seeds.ravel(), rounding_noise(step), draws=999)
    return float(alone), ours.p


def false_sensitivities(case: str, seeds: int, sentences: int, reports: int) -> tuple[float, float]:
    """Give the share of reports with sentences on hyperparameters of five values without effect that claim any: one-way
    tests that are corrected for nothing, and the report's."""
    random = np.random.default_rng([CASES.index(case), seeds, sentences])
    claims = []
    for _ in range(reports):
        drawn = draw(case, sentences, 5, seeds, random)
        alone, ours = zip(*(judged(each, smallest_step(each.ravel())) for each in drawn), strict=True)
        claims.append((min(alone) < SIGNIFICANCE, np.nanmin(holm(ours)) < SIGNIFICANCE))
    return float(np.mean([c[0] for c in claims])), float(np.mean([c[1] for c in claims]))


def power(seeds: int, correlation: float, sweeps: int) -> tuple[float, float]:
    """Give the share of sweeps in which means of five values, over a range of 1.8 deviations between seeds, are found
    by a one-way test, and by the report's. correlation: of the runs under one seed."""
    random = np.random.default_rng(seeds)
    means = 0.9 + NOISE * 1.8 * np.linspace(-0.5, 0.5, 5)[:, None]
    found = []
    for _ in range(sweeps):
        shared, own = random.standard_normal((1, seeds)), random.standard_normal((5, seeds))
        p = judged(means + NOISE * (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own), 0.0)
        found.append([each < SIGNIFICANCE for each in p])
    alone, ours = np.mean(found, axis=0)
    return float(alone), float(ours)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sweeps", type=int, default=2000)
    arguments.add_argument("--methods", type=int, default=7)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 5, 10])
    options = arguments.parse_args()
    print(
        f"false winners or losers among {options.methods} equal methods, % of {options.sweeps} sweeps: plain / report"
    )
    print("seeds".ljust(14) + "".join(f"{n:>14}" for n in options.seeds))
    for case in (*CASES, *UNEQUAL):
        rates = (false_claims(case, n, options.methods, options.sweeps) for n in options.seeds)
        print(case.ljust(14) + "".join(f"{100 * plain:7.1f}{100 * ours:7.1f}" for plain, ours in rates), flush=True)
    print("a method two deviations of a run above joint training is found, %: plain / report")
    powers = (difference_power(2, n, options.methods, options.sweeps) for n in options.seeds)
    print(" " * 14 + "".join(f"{100 * a:7.1f}{100 * b:7.1f}" for a, b in powers), flush=True)
    print("the difference that the report says would have been found with 80 % probability is found, %")
    said = [(n, detectable_difference(1.0, n, options.methods)) for n in options.seeds]
    found = [difference_power(d, n, options.methods, options.sweeps)[1] if np.isfinite(d) else None for n, d in said]
    print(" " * 14 + "".join(f"{'none' if f is None else f'{100 * f:.1f}':>14}" for f in found), flush=True)
    needed = seeds_needed(1.0, 1.0, options.methods) or 0
    plain, ours = difference_power(1, needed, options.methods, options.sweeps)
    print(f"one deviation of a run needs {needed} seeds; found with them, %: {100 * plain:.1f} / {100 * ours:.1f}")
    print("95 % intervals over seeds that hold the expected value, %")
    for case in CASES:
        held = (coverage(case, n, max(1, options.sweeps // 7)) for n in options.seeds)
        print(case.ljust(14) + "".join(f"{100 * rate:14.1f}" for rate in held), flush=True)
    for sentences in (4, 12):
        print(f"reports with any of {sentences} false sensitivities, %: one-way, uncorrected / report")
        for case in CASES:
            claims = (false_sensitivities(case, n, sentences, max(1, options.sweeps // 20)) for n in options.seeds)
            print(case.ljust(14) + "".join(f"{100 * a:7.1f}{100 * b:7.1f}" for a, b in claims), flush=True)
    print("sensitivity found, seeds correlated by 0.8, %: one-way / report")
    powers = (power(n, 0.8, max(1, options.sweeps // 10)) for n in options.seeds)
    print(" " * 14 + "".join(f"{100 * a:7.1f}{100 * b:7.1f}" for a, b in powers))


if __name__ == "__main__":
    main()
