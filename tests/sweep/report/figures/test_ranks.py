"""The diagram of average ranks."""

from __future__ import annotations

import math

import pandas as pd
from support.described_figures import assert_looks_as_before

from sweep.analysis.over_datasets import OverDatasets
from sweep.report.figures.ranks import draw_ranks


def test_ranks_look_as_before_and_untested_ones_are_not_drawn() -> None:
    ranks = [1.2, 1.9, 3.0, 3.9]
    table = pd.DataFrame({"label": [*"abcd"], "rank": ranks, "rank_low": [1.0, 1.5, 2.5, 3.8], "rank_high": 4.0})
    found = OverDatasets(table, ("d", "e"), "test_accuracy", 0.01, 1.2, ())
    (drawing,) = draw_ranks(found)
    assert_looks_as_before("ranks", drawing.figure, drawing.caption)
    assert list(draw_ranks(OverDatasets(table, ("d",), "test_accuracy", math.nan, math.nan, ()))) == []
    assert list(draw_ranks(None)) == []
