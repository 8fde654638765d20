"""Which method, first: one line a method, its best configuration on validation beside the baselines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.differences import differences
from sweep.analysis.many_to_one import least_p
from sweep.analysis.parts import (
    CHOICE,
    REBALANCE_NOTHING,
    UNIMODAL_LOSS,
    Parts,
    by_split,
    modalities,
    rows_of_each_choice,
    rows_of_one_configuration,
    selection_metric,
    shown_metric,
)
from sweep.analysis.statistics import interval_text, lost_runs, split_of, summarise
from sweep.analysis.two_way import SIGNIFICANCE

BETTER, WORSE = "better", "worse"
NO_DIFFERENCE, NOT_JUDGED, NOT_CLAIMED = "no difference shown", "cannot be judged", "not claimed"
BASELINES = {
    "joint": "joint training",
    "unimodal": "joint training with unimodal losses",
    "ensemble": "the ensemble of unimodal models",
}
"""What each line is compared with, as far as the sweep has it: name in the columns -> words."""


def standings(parts: Parts) -> pd.DataFrame:
    """Give one row a method and dataset, the baselines among them, the best on validation first.

    Each is its best configuration on validation, under the report seeds where it has runs there. Columns label,
    dataset, point, baseline (whether it rebalances nothing), of (configurations chosen from), fresh (under report
    seeds), n, seeds and lost (finished, all and lost runs), splits (of the finished ones); validation, test,
    imbalance and weak (the modality that is worst alone) with _low and _high, shares; weak_modality; cost (forward
    passes a run, joint training's being 1); tuning (what a search's choice adds to its first configuration under the
    search's own seeds) with its ends; and for each of BASELINES the difference of the test metric to it, NAME,
    NAME_low, NAME_high, NAME_p, NAME_verdict and NAME_detectable. Where no test metric was recorded test is NaN, and
    the others are of validation."""
    chosen = list(representatives(parts))
    if not chosen:
        return pd.DataFrame(columns=["label", "dataset"])
    runs = pd.concat(chosen)
    metric = selection_metric(parts.runs)
    column = shown_metric(runs, metric.removeprefix("validation_")) or metric
    table = pd.DataFrame([_line(rows, parts) for rows in chosen])
    tested = column if column.startswith("test_") else ""
    for name, found in (("validation", metric), ("test", tested), ("imbalance", "test_imbalance")):
        table = _with_interval(table, runs, name, found)
    table = _without_one_branch(_with_weak_branch(table, runs, column), runs)
    table["cost"] = _costs(runs, parts)
    table = _with_tuning(table, parts, column)
    baselines = (_plain(runs, parts), _with_unimodal_losses(runs), _of_first_label(runs[runs["method"].eq("ensemble")]))
    for name, baseline in zip(BASELINES, baselines, strict=True):
        table = _with_differences(table, runs, baseline, column, name)
    place = {dataset: number for number, dataset in enumerate(parts.runs["dataset"].unique())}
    order = table.assign(place=table["dataset"].map(place)).sort_values(
        ["place", "validation"], ascending=[True, False], kind="stable"
    )
    return order.drop(columns="place").reset_index(drop=True)


def leader_sentences(table: pd.DataFrame) -> list[str]:
    """Say which method leads on validation, a sentence a dataset with several, and whether more than chance says so."""
    sentences = []
    for dataset, rows in table.groupby("dataset", sort=False):
        known = rows[rows["validation"].notna()]
        if len(known) > 1:
            sentences.append(_leader_sentence(str(dataset), known.iloc[0], known))
    return sentences


def _leader_sentence(dataset: str, best: pd.Series, rows: pd.DataFrame) -> str:
    what = "a baseline, " if best["baseline"] else ""
    reached = f"{interval_text(best['validation'], best['validation_low'], best['validation_high'])} % on validation"
    tested = f", {interval_text(best['test'], best['test_low'], best['test_high'])} % on test"
    level = rows["label"][np.isclose(rows["validation"], best["validation"], rtol=0, atol=1e-12)].tolist()[1:]
    place = f"is listed first, equal on validation to {', '.join(level)}" if level else "leads"
    text = f"On {dataset} {best['label']} {place}: {what}{reached}{'' if math.isnan(best['test']) else tested}"
    said = [
        f"{_verdict_words(str(best[f'{name}_verdict']))} {words} ({100 * best[name]:+.2f} points)"
        for name, words in BASELINES.items()
        if best[f"{name}_verdict"] and not math.isnan(best[name])
    ]
    better = rows[rows["joint_verdict"].eq(BETTER) & ~rows["baseline"]]
    if best["baseline"] and len(rows) > int(rows["baseline"].sum()):
        named = ", ".join(better["label"])
        said.append(
            f"better than joint training beyond chance: {named}" if named else "no method is shown to be better"
        )
    return f"{text}; {', '.join(said)}." if said else f"{text}."


def _verdict_words(verdict: str) -> str:
    return {
        BETTER: "better beyond chance than",
        WORSE: "worse beyond chance than",
        NO_DIFFERENCE: "not told apart from",
    }.get(verdict, "not to be judged against")


# Columns ---------------------------------------------------------------------------------------------------------


def representatives(parts: Parts) -> Iterator[pd.DataFrame]:
    """Give the runs that stand for each label on each dataset, references first."""
    own = pd.concat([parts.references, parts.swept])
    for (label, dataset), rows in own.groupby(["label", "dataset"], sort=False):
        kept = rows[rows["role"].eq("sweep")] if rows["role"].eq("sweep").any() else rows
        best = rows_of_each_choice(kept)
        alike = parts.chosen["label"].eq(str(label)) & parts.chosen["dataset"].eq(str(dataset))
        fresh = parts.chosen[alike & parts.chosen["configuration"].isin(best["configuration"])]
        yield fresh if len(fresh) else best


def _line(rows: pd.DataFrame, parts: Parts) -> dict[str, Any]:
    first = rows.iloc[0]
    alike = parts.runs["label"].eq(first["label"]) & parts.runs["dataset"].eq(first["dataset"])
    studied = parts.runs.loc[alike & ~parts.runs["role"].eq("report"), "configuration"]
    return {
        "label": first["label"],
        "dataset": first["dataset"],
        "point": first["point"],
        "baseline": first["method"] in REBALANCE_NOTHING,
        "of": int(studied.nunique()),
        "fresh": first["role"] == "report",
        "n": int(rows.loc[rows["status"].eq("done"), "hash"].nunique()),
        "seeds": int(rows["hash"].nunique()),
        "lost": len(lost_runs(rows)),
        "splits": int(split_of(rows[rows["status"].eq("done")]).nunique()),
    }


def _with_interval(table: pd.DataFrame, runs: pd.DataFrame, name: str, column: str) -> pd.DataFrame:
    found = summarise(runs, ["label", "dataset"], column)[["label", "dataset", "mean", "low", "high"]]
    names = {"mean": name, "low": f"{name}_low", "high": f"{name}_high"}
    return table.merge(found.rename(columns=names), on=["label", "dataset"], how="left")


def _with_weak_branch(table: pd.DataFrame, runs: pd.DataFrame, column: str) -> pd.DataFrame:
    means = {
        name: summarise(runs, ["label", "dataset"], f"{column}_{name}").set_index(["label", "dataset"])
        for name in modalities(runs)
    }
    lines = []
    for key in table[["label", "dataset"]].itertuples(index=False, name=None):
        known = {name: found.loc[key] for name, found in means.items() if not math.isnan(found.loc[key, "mean"])}
        weak = min(known, key=lambda name: float(known[name]["mean"]), default=None)
        ends = known[weak] if weak else {"mean": math.nan, "low": math.nan, "high": math.nan}
        lines.append((weak or "", ends["mean"], ends["low"], ends["high"]))
    names = ("weak_modality", "weak", "weak_low", "weak_high")
    return table.assign(**dict(zip(names, zip(*lines, strict=True), strict=True)))


def _without_one_branch(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Leave out weak branch and imbalance of unimodal models, which have one branch."""
    one = table["label"].isin(runs.loc[runs["method"].eq("unimodal"), "label"])
    numbers = [f"{name}{end}" for name in ("weak", "imbalance") for end in ("", "_low", "_high")]
    table.loc[one, numbers] = math.nan
    table.loc[one, "weak_modality"] = ""
    return table


def _costs(runs: pd.DataFrame, parts: Parts) -> list[float]:
    """Give the mean forward passes of a finished run of each row, joint training's on its dataset being 1."""
    if "forward_passes" not in runs:
        return [math.nan] * runs.groupby(["label", "dataset"]).ngroups
    done = runs[runs["status"].eq("done")]
    plain = parts.baseline[parts.baseline["status"].eq("done")].groupby("dataset")["forward_passes"].mean()
    mean = done.groupby(["label", "dataset"], sort=False)["forward_passes"].mean()
    keys = runs[["label", "dataset"]].drop_duplicates().itertuples(index=False, name=None)
    return [float(mean.get(key, math.nan)) / float(plain.get(key[1], math.nan)) for key in keys]


def _with_tuning(table: pd.DataFrame, parts: Parts, column: str) -> pd.DataFrame:
    """Add the differences of what each search chose to its first configuration, paired over the seeds of the search."""
    rows = pd.concat([parts.references, parts.swept])
    searched, found = rows[rows["number"].notna()], list[pd.DataFrame]()
    for _, part in searched.groupby(["label", "dataset"], sort=False):
        chosen = pd.concat([rows_of_one_configuration(each) for each in by_split(part)])
        found.append(differences(chosen.assign(point=CHOICE), part[part["number"].eq(0)], column, ["label"]))
    names = {"mean": "tuning", "low": "tuning_low", "high": "tuning_high"}
    if not found:
        return table.assign(**dict.fromkeys(names.values(), math.nan))
    added = pd.concat(found)[["label", "dataset", *names]].rename(columns=names)
    return table.merge(added, on=["label", "dataset"], how="left")


def _plain(runs: pd.DataFrame, parts: Parts) -> pd.DataFrame:
    return runs[runs["label"].isin(parts.baseline["label"]) & runs["hash"].isin(parts.baseline["hash"])]


def _with_unimodal_losses(runs: pd.DataFrame) -> pd.DataFrame:
    """Select the runs of joint training with unimodal losses."""
    if UNIMODAL_LOSS not in runs:
        return runs.iloc[:0]
    return _of_first_label(runs[runs["method"].eq("joint") & runs[UNIMODAL_LOSS].fillna(0).gt(0)])


def _of_first_label(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["label"].eq(runs["label"].iloc[0])] if len(runs) else runs


def _with_differences(
    table: pd.DataFrame, runs: pd.DataFrame, baseline: pd.DataFrame, column: str, name: str
) -> pd.DataFrame:
    others = runs[~runs["label"].isin(baseline["label"])]
    found = differences(others, baseline, column, ["label"])
    found["verdict"] = [difference_verdict(row) for row in found.to_dict("records")]
    columns = {"mean": name, "low": f"{name}_low", "high": f"{name}_high", "p_adjusted": f"{name}_p"}
    columns |= {"verdict": f"{name}_verdict", "detectable": f"{name}_detectable"}
    kept = found[["label", "dataset", *columns]].rename(columns=columns)
    merged = table.merge(kept, on=["label", "dataset"], how="left")
    return merged.fillna({f"{name}_verdict": ""})


def difference_verdict(row: dict[Any, Any]) -> str:
    """Judge a row of :func:`sweep.analysis.differences.differences`; "" where there is nothing to compare."""
    if row["repeats"] < 2:
        return ""
    if row["lost"]:
        return NOT_CLAIMED
    if math.isnan(row["p_adjusted"]) or least_p(row["repeats"]) * row["comparisons"] >= SIGNIFICANCE:
        return NOT_JUDGED
    if row["p_adjusted"] >= SIGNIFICANCE:
        return NO_DIFFERENCE
    return BETTER if row["mean"] > 0 else WORSE
