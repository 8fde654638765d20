"""The fused accuracy with a part of the modalities, as runs record it for their Shapley values."""

from __future__ import annotations

import pandas as pd

from sweep.results.tables import columns_of

NONE = "none"


def subset_columns(runs: pd.DataFrame, split: str = "test") -> dict[str, str]:
    """Map subsets to their columns, few modalities first: "none" (the share of the most frequent class), "left",
    "left + profile"; those without a value are left out."""
    prefix = f"{split}_subset_"
    found = [c for c in columns_of(runs, prefix) if runs[c].notna().any()]
    names = {c: c.removeprefix(prefix).split("+") for c in found}
    ordered = sorted(found, key=lambda c: (names[c] != [NONE], len(names[c])))
    return {" + ".join(names[c]): c for c in ordered}
