"""Epochs that runs were trained, beside their budget."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest

from sweep.analysis.trained_epochs import trained_epochs_text


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ([("done", 12, 12), ("done", 12, 12)], "12 epochs"),
        ([("done", 24, 12), ("done", 24, 12)], "24 epochs (budget 12)"),
        ([("done", 12, 12), ("done", 24, 12)], "12 or 24 epochs (budget 12)"),
        ([("done", 12, 12), ("pruned", 4, 12), ("done", 9, 12)], "4 to 12 epochs (budget 12)"),
        ([("done", 6, 6), ("done", 12, 12)], "6 or 12 epochs"),
        ([("done", 12, 6), ("done", 24, 12), ("pruned", 3, 9)], "3 to 24 epochs (budget 6 to 12)"),
        ([("done", 12, 12), ("failed", 3, 12), ("diverged", 2, 12), ("running", None, 12)], "12 epochs"),
        ([("failed", 3, 12)], ""),
    ],
)
def test_epochs_are_those_trained_and_not_the_budget(ended: Sequence[tuple[str, int | None, int]], said: str) -> None:
    runs = pd.DataFrame(list(ended), columns=["status", "epochs_trained", "epochs"])
    assert trained_epochs_text(runs, " epochs") == said


def test_what_is_not_on_record_is_not_said() -> None:
    runs = pd.DataFrame({"status": ["done"], "epochs_trained": [24]})
    assert trained_epochs_text(runs) == "24"
    assert trained_epochs_text(runs[["status"]]) == ""
