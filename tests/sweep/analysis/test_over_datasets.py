"""Ranks, wins and probabilities over datasets, by hand and against published tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from support.synthetic_results import Results

from sweep.analysis.over_datasets import (
    OverDatasets,
    average_ranks,
    critical_difference,
    over_datasets,
    probability_of_improvement,
)
from sweep.analysis.parts import Parts
from sweep.report.figures.ranks import draw_ranks
from sweep.report.over_datasets import dataset_blocks
from sweep.results.tables import load

LEVELS = {"joint": 0.5, "iprm": 0.7, "bss": 0.45}


def compared(folder: Path, datasets: int, **keys: float) -> OverDatasets | None:
    """Compare methods at fixed levels over datasets, three seeds each."""
    for number in range(datasets):
        made = Results(folder, dataset=f"d{number}")
        made._made = 100 * number
        if not number:
            made.sweep("s")
        for method, level in LEVELS.items():
            for seed in range(3):
                shift = 0.002 * ((seed * 5 + number) % 3)
                made.run("s", method, seed, {"multi": level + shift, "left": 0.4, "profile": 0.3})
    verdicts = {"joint": "", "iprm": "better", "bss": "worse"}
    rows = [{"label": m, "dataset": f"d{n}", "joint_verdict": verdicts[m]} for n in range(datasets) for m in LEVELS]
    return over_datasets(Parts(load(folder / "s")), pd.DataFrame(rows), draws=20)


def test_ranks_are_averaged_and_equal_means_share_theirs() -> None:
    assert average_ranks(np.array([[0.9, 0.5], [0.8, 0.5], [0.7, 0.6]])) == pytest.approx([1.75, 2.25, 2.0])


def test_the_probability_of_improvement_is_mann_and_whitneys_statistic() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.random(7).round(1), draw.random(9).round(1)
    statistic = mannwhitneyu(first, second).statistic
    assert probability_of_improvement(first, second) == pytest.approx(statistic / 63)


def test_critical_differences_are_those_of_demsars_table() -> None:
    # q 0.05 of Demšar 2006, Table 5: 2.343 for 3 classifiers, 2.569 for 4, 3.164 for 10.
    for k, q in ((3, 2.343), (4, 2.569), (10, 3.164)):
        assert critical_difference(k, 14) == pytest.approx(q * np.sqrt(k * (k + 1) / (6 * 14)), abs=2e-3)


def test_two_datasets_are_compared_and_not_tested(tmp_path: Path) -> None:
    found = compared(tmp_path, 2)
    assert found is not None
    assert found.table["label"].tolist() == ["iprm", "joint", "bss"]
    assert found.table["rank"].tolist() == [1, 2, 3]
    assert found.table["improvement"].tolist()[::2] == [1, 0]
    assert np.isnan(found.table["improvement"][1])
    assert found.table[["wins", "ties", "losses"]].to_numpy().tolist() == [[2, 0, 0], [0, 0, 0], [0, 0, 2]]
    assert list(draw_ranks(found)) == []
    (block,) = dataset_blocks(found)
    assert block.table is not None
    assert block.table.rows[0] == ["iprm", "1.00 (1.00 to 1.00)", "2 / 0 / 0", "100 (100 to 100)"]
    assert "tested over datasets from 5" in block.table.note


def test_five_datasets_are_tested_and_drawn(tmp_path: Path) -> None:
    found = compared(tmp_path, 5)
    assert found is not None
    assert found.critical == pytest.approx(critical_difference(3, 5))
    assert found.friedman_p == pytest.approx(np.exp(-5), rel=1e-6)  # chi squared 10 of 2 degrees
    assert found.cliques() == [(0, 1), (1, 2)]
    (drawing,) = draw_ranks(found)
    assert "5 datasets" in drawing.caption


def test_one_dataset_gives_nothing(tmp_path: Path) -> None:
    assert compared(tmp_path, 1) is None
    assert dataset_blocks(None) == list(draw_ranks(None)) == []
