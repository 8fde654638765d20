"""Methods over several datasets, in a table."""

from __future__ import annotations

import math

import pandas as pd

from sweep.analysis.over_datasets import LEAST_RANKED, OverDatasets
from sweep.report.blocks import Block, Table


def dataset_blocks(found: OverDatasets | None) -> list[Block]:
    """Show average ranks, wins and losses, and the probability of improvement; nothing for one dataset."""
    if found is None:
        return []
    lines = [
        [
            r["label"], _with_ends(r["rank"], r["rank_low"], r["rank_high"], 1.0, 2),
            "–" if math.isnan(r["improvement"]) else f"{r['wins']} / {r['ties']} / {r['losses']}",
            _with_ends(r["improvement"], r["improvement_low"], r["improvement_high"], 100.0, 0),
        ]
        for r in found.table.to_dict("records")
    ]  # fmt: skip
    headings = ["method", "average rank", "wins / ties / losses", "probability of improvement (%)"]
    return [Block("Over datasets", table=Table(headings, lines, note=_note(found)))]


def _with_ends(value: float, low: float, high: float, factor: float, digits: int) -> str:
    if pd.isna(value):
        return "–"
    return " ".join([f"{factor * value:.{digits}f}", f"({factor * low:.{digits}f} to {factor * high:.{digits}f})"])


def _note(found: OverDatasets) -> str:
    text = (
        f"By {found.metric.replace('_', ' ')} over {', '.join(found.datasets)}; 1 is the best rank. Against joint "
        "training: wins and losses are differences beyond chance, ties all others; the probability of improvement is "
        "that a run is better than one of joint training on the same dataset, averaged over datasets. Intervals: 95 %, "
        "by resampling the runs of each dataset; they say nothing of other datasets. "
    )
    if not math.isnan(found.critical):
        p = "< 0.001" if found.friedman_p < 0.001 else f"= {found.friedman_p:.3f}"
        text += (
            f"Friedman's test over datasets: p {p}; average ranks further apart than {found.critical:.2f} differ "
            "(Nemenyi's test, 5 %)."
        )
    elif len(found.datasets) < LEAST_RANKED:
        text += f"Ranks are tested over datasets from {LEAST_RANKED} of these on."
    if found.left_out:
        text += f" Left out, for lack of runs on some dataset: {', '.join(found.left_out)}."
    return text
