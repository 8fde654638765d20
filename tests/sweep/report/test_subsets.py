"""Absent modalities and probabilities: what runs record is tabulated and drawn; runs without it are passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.report.figures.subsets import draw_subsets
from sweep.report.probabilities import probability_blocks
from sweep.report.subsets import subset_blocks
from sweep.results.tables import load

SUBSETS = {"none": 0.1, "left": 0.5, "profile": 0.3, "left+profile": 0.9}


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    made = Results(tmp_path)
    made.sweep("s")
    for seed in range(2):
        folder = made.run("s", "joint", seed)
        record = json.loads((folder / "test.json").read_text())
        record["metrics"] |= {f"test_subset_{name}": value + 0.01 * seed for name, value in SUBSETS.items()}
        record["metrics"] |= {"test_nll": 0.5 + seed, "test_auroc": 0.9, "test_auroc_left": 0.8}
        (folder / "test.json").write_text(json.dumps(record))
    made.run("s", "iprm", 0)
    return Parts(load(tmp_path / "s"))


def test_each_subset_is_a_column_and_runs_without_them_have_none(parts: Parts) -> None:
    (block,) = subset_blocks(parts)
    assert block.table is not None
    assert block.table.columns == ["configuration", "n", "none", "left", "profile", "left + profile"]
    joint, other = block.table.rows
    assert joint[:2] == ["joint", "2"]
    assert [text.split()[0] for text in joint[2:]] == ["10.5", "50.5", "30.5", "90.5"]
    assert other == ["iprm", "1", "–", "–", "–", "–"]


def test_the_figure_has_a_dot_for_every_subset(parts: Parts) -> None:
    (drawing,) = draw_subsets(parts)
    labels = drawing.figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["no modality", "left", "profile", "left + profile"]
    assert "on one split" in drawing.caption


def test_likelihoods_are_nats_and_the_others_per_cent(parts: Parts) -> None:
    (block,) = probability_blocks(parts)
    assert block.table is not None
    assert block.table.columns[3:] == ["fused: NLL (nats)", "fused: AUROC (%)", "left: AUROC (%)"]
    assert block.table.rows[0][3].startswith("1.000 ± 6.353")
    assert block.table.rows[0][4].startswith("90.0")
    assert block.table.rows[1][3:] == ["–", "–", "–"]


def test_results_of_earlier_versions_have_no_such_tables(tmp_path: Path) -> None:
    made = Results(tmp_path)
    made.sweep("s")
    made.run("s", "joint", 0)
    parts = Parts(load(tmp_path / "s"))
    assert subset_blocks(parts) == probability_blocks(parts) == list(draw_subsets(parts)) == []
