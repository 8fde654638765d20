"""How many epochs runs were trained: not always their budget, for a method may train that once a modality or phase, and
early stopping ends before it."""

from __future__ import annotations

import pandas as pd

ENDED_BY_THEMSELVES = ("done", "pruned")
"""Of runs that failed or diverged no budget can be read."""


def trained_epochs_text(runs: pd.DataFrame, unit: str = "") -> str:
    """Say how many epochs runs were trained, as "12", "12 or 24" or "5 to 12", with ``unit`` after it and their budget
    where that is another number; "" where none was trained, or that is not known."""
    if "epochs_trained" not in runs:
        return ""
    ended = runs[runs["status"].isin(ENDED_BY_THEMSELVES) & runs["epochs_trained"].gt(0)]
    if ended.empty:
        return ""
    trained = ended["epochs_trained"]
    budget = ended["epochs"].dropna() if "epochs" in ended else trained
    said = f"{_numbers_text(trained)}{unit}"
    return said if trained.eq(budget).all() else f"{said} (budget {_numbers_text(budget)})"


def _numbers_text(numbers: pd.Series) -> str:
    found = sorted({int(number) for number in numbers})
    return " or ".join(map(str, found)) if len(found) <= 2 else f"{found[0]} to {found[-1]}"
