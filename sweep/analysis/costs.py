"""What does a method cost? The time of an epoch over that of joint training, beside the accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweep.analysis.parts import REBALANCE_NOTHING, Parts, rows_of_each_choice, shown_metric, under_same_seeds
from sweep.analysis.statistics import repeat_of, summarise
from sweep.plan.objectives import pareto_front
from sweep.results.columns import TEST_SAMPLES

SECONDS = "seconds_per_epoch"
KEY = ["label", "point"]


@dataclass(frozen=True)
class Costs:
    """Accuracy against cost on one dataset.

    table: a row a configuration with label, point, baseline, accuracy (a share) and cost (joint training's is 1), means
    with _low and _high, and front (none is as good in both and better in one); column: the metric that stands for
    accuracy."""

    dataset: str
    column: str
    table: pd.DataFrame


def costs(parts: Parts, rows: pd.DataFrame, metric: str) -> list[Costs]:
    """Set accuracy against cost for each dataset of ``rows``, with the references under the same seeds.

    Nothing without joint training, which the seconds of an epoch are divided by run by run: of the same split and seed.
    metric: accuracy, map or macro_f1; of the test split where it was recorded."""
    column = shown_metric(rows, metric) if len(rows) else None
    if column is None or SECONDS not in rows or not len(parts.baseline):
        return []
    found = []
    for dataset, part in rows.groupby("dataset", sort=False):
        references = under_same_seeds(rows_of_each_choice(parts.references), part)
        references = references[references["dataset"].eq(str(dataset)) & ~references["label"].isin(part["label"])]
        needed = [*KEY, "method", "dataset", "seed", "split", "status", SECONDS, column, TEST_SAMPLES]
        runs = pd.concat([part, references])
        runs = runs[[name for name in needed if name in runs]]
        runs = runs.assign(cost=cost_ratios(runs, parts.baseline))
        table = _table(runs, column)
        if len(table) > 1:
            found.append(Costs(str(dataset), column, table))
    return found


def cost_ratios(runs: pd.DataFrame, baseline: pd.DataFrame) -> pd.Series:
    """Divide the seconds of an epoch of each run by those of the baseline's run on the same dataset and split, under
    the same seed; NaN where there is none."""
    done = baseline[baseline["status"].eq("done")]
    plain = {
        (dataset, *repeat): seconds
        for dataset, repeat, seconds in zip(done["dataset"], repeat_of(done), done[SECONDS], strict=True)
    }
    keys = zip(runs["dataset"], repeat_of(runs), strict=True)
    of_joint = np.array([plain.get((dataset, *repeat), np.nan) for dataset, repeat in keys], float)
    return runs[SECONDS] / of_joint


def _table(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    parts = []
    for name, found, share in (("accuracy", column, True), ("cost", "cost", False)):
        named = {"mean": name, "low": f"{name}_low", "high": f"{name}_high"}
        parts.append(summarise(runs, KEY, found, share).set_index(KEY)[list(named)].rename(columns=named))
    table = pd.concat(parts, axis=1).dropna(subset=["accuracy", "cost"]).reset_index()
    baselines = runs[runs["method"].isin(REBALANCE_NOTHING)]
    front = pareto_front(table[["accuracy", "cost"]].to_numpy().tolist(), ["maximize", "minimize"])
    return table.assign(baseline=table["label"].isin(baselines["label"]), front=table.index.isin(front))
