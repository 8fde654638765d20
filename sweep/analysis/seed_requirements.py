"""How many seeds a sweep needs to find a difference to joint training, from its own noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from sweep.analysis.conclusions import differences_to_joint
from sweep.analysis.many_to_one import MOST_SEEDS, seeds_needed
from sweep.analysis.parts import Parts, metric_label, selection_metric, shown_metric


@dataclass(frozen=True)
class SeedRequirement:
    """What the seeds of a sweep show on one dataset, and what a difference needs.

    metric: as an axis is labelled; comparisons: configurations compared with joint training, of all datasets; seeds:
    the most that any shares with joint training; noise: deviation of one run beyond what its seed shares; detectable:
    the difference that is found with 80 % probability; difference: the one asked for, all three shares; needed: seeds
    with which that one is found (None: more than MOST_SEEDS); over: seeds, or splits where these are the repeats."""

    dataset: str
    metric: str
    comparisons: int
    seeds: int
    noise: float
    detectable: float
    difference: float
    needed: int | None
    over: str = "seeds"

    def sentence(self) -> str:
        """Say it plainly."""
        now = f"with {self.seeds} {self.over} a difference of {100 * self.detectable:.1f} points is found"
        if math.isinf(self.detectable):
            now = f"with {self.seeds} {self.over} no difference at all is found"
        needed = f"more than {MOST_SEEDS}" if self.needed is None else str(self.needed)
        others = "1 configuration" if self.comparisons == 1 else f"{self.comparisons} configurations"
        one, repeat = ("run", "seed") if self.over == "seeds" else ("mean over seeds", "split")
        return (
            f"{self.dataset}: {self.metric.removesuffix(' (%)')} of {others} beside joint training; a {one} scatters "
            f"by {100 * self.noise:.2f} points beyond what its {repeat} shares. {now[:1].upper()}{now[1:]} with 80 % "
            f"probability; one of {100 * self.difference:g} points needs {needed} {self.over}."
        )


def seed_requirements(parts: Parts, difference: float) -> list[SeedRequirement]:
    """Tell for each dataset how many seeds a difference of shares needs to be found with 80 % probability, beside as
    many others as the sweep compares; none where no two seeds of joint training and another configuration are done."""
    rows = parts.compared
    metric = selection_metric(parts.runs).removeprefix("validation_")
    column = shown_metric(rows, metric) if len(rows) else None
    if column is None or parts.baseline.empty:
        return []
    table = differences_to_joint(parts, column)
    return [
        _requirement(str(dataset), part, metric_label(column), difference)
        for dataset, part in table[table["repeats"] > 1].groupby("dataset", sort=False)
        if part["noise"].notna().any()
    ]


def _requirement(dataset: str, table: pd.DataFrame, metric: str, difference: float) -> SeedRequirement:
    first = table.sort_values("repeats", ascending=False, kind="stable").iloc[0]
    comparisons, noise = int(first["comparisons"]), float(first["noise"])
    needed = seeds_needed(difference, noise, comparisons)
    return SeedRequirement(
        dataset,
        metric,
        comparisons,
        int(first["repeats"]),
        noise,
        float(first["detectable"]),
        difference,
        needed,
        "splits" if first["splits"] > 1 else "seeds",
    )
