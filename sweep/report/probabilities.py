"""Predicted probabilities: likelihood, calibration and ranking of each head, in a table."""

from __future__ import annotations

import pandas as pd

from sweep.analysis.conclusions import name_with_role
from sweep.analysis.parts import Parts, modalities
from sweep.analysis.statistics import interval_text, summarise
from sweep.report.blocks import Block, Table
from sweep.report.figures.style import FUSED
from sweep.report.subsets import KEY, shown_rows

METRICS = {"nll": "NLL (nats)", "calibration_error": "calibration error (%)", "auroc": "AUROC (%)"}
NOTE = (
    "On the test split, of the fused prediction and of each modality alone. NLL: mean negative log-likelihood of the "
    "true class. Calibration error: distance of accuracy and confidence in 15 equal bins of the largest probability, "
    "averaged over samples. AUROC: of each class against the others, averaged. Mean ± half of the 95 % t interval."
)


def probability_blocks(parts: Parts) -> list[Block]:
    """Show NLL, calibration error and AUROC of each configuration and head; nothing where none is recorded."""
    rows = shown_rows(parts)
    heads = {FUSED: "", **{name: f"_{name}" for name in modalities(rows)}}
    columns = {
        f"{head}: {title}": (f"test_{metric}{suffix}", metric != "nll")
        for head, suffix in heads.items()
        for metric, title in METRICS.items()
    }
    columns = {title: found for title, found in columns.items() if found[0] in rows and rows[found[0]].notna().any()}
    if not columns:
        return []
    texts = {title: _texts(rows, *found) for title, found in columns.items()}
    counted = summarise(rows, KEY, next(iter(columns.values()))[0])
    lines = [
        [name_with_role(r), str(r["dataset"]), str(r["n"]), *(texts[title][number] for title in columns)]
        for number, r in enumerate(counted.to_dict("records"))
    ]
    table = Table(["configuration", "dataset", "n", *columns], lines, note=NOTE)
    return [Block("Likelihood, calibration, ranking", table=table)]


def _texts(rows: pd.DataFrame, column: str, share: bool) -> list[str]:
    table = summarise(rows, KEY, column, share)
    ends = zip(table["mean"], table["low"], table["high"], strict=True)
    return [interval_text(*each) if share else _nats_text(*each) for each in ends]


def _nats_text(mean: float, low: float, high: float) -> str:
    if pd.isna(mean):
        return "–"
    return f"{mean:.3f}" + ("" if pd.isna(low) else f" ± {high - mean:.3f}")
