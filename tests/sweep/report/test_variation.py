"""What the accuracy varies by, and pairs sample by sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.kept_texts import assert_reads_as_before
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.report import variation
from sweep.report.variation import variation_blocks
from sweep.results.tables import load
from sweep.runs.predictions import PREDICTIONS, SamplePredictions


def predicted(folder: Path, wrong: int, heads: tuple[str, ...] = ("multi",)) -> None:
    """Leave the predictions of 200 samples of class 0, the first of which are wrong."""
    classes = (np.arange(200) < wrong).astype(np.int32)[None].repeat(len(heads), 0)
    found = SamplePredictions(heads, classes, np.zeros(classes.shape, np.float32), np.zeros(200, int))
    (folder / PREDICTIONS).write_bytes(found.to_bytes())


def test_variation_reads_as_before(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed in range(2):
        for method, wrong in (("joint", 60), ("iprm", 30), ("bss", 61)):
            folder = results.run("one", method, seed, {"multi": 1 - (wrong + seed) / 200})
            predicted(folder, wrong + seed)
    results.run("one", "aug", 0, {"multi": 0.5})
    assert_reads_as_before("variation", variation_blocks(Parts(load(tmp_path / "one")), tmp_path))


def test_of_many_configurations_the_first_are_looked_at_on_each_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed in range(2):
        for method, wrong in (("joint", 100), ("iprm", 30), ("bss", 99)):
            predicted(results.run("one", method, seed), wrong)
    runs = load(tmp_path / "one")
    split = Parts(runs.assign(split=runs["seed"] + 4))
    varies, pairs = (block.table for block in variation_blocks(split, tmp_path))
    assert varies is not None
    assert [row[:4] for row in varies.rows] == [[m, "digits", "2", "2"] for m in ("iprm", "bss", "joint")]
    assert pairs is not None
    assert [(row[0], row[2], row[3], row[4], row[-1]) for row in pairs.rows] == [
        ("iprm", "4", "1", "200", "< 0.001"),
        ("iprm", "5", "1", "200", "< 0.001"),
        ("bss", "4", "1", "200", "1.000"),
        ("bss", "5", "1", "200", "1.000"),
    ]
    monkeypatch.setattr(variation, "MOST_COMPARED", 1)
    varies, pairs = (block.table for block in variation_blocks(split, tmp_path))
    assert varies is not None
    assert pairs is not None
    assert ([row[0] for row in varies.rows], len(pairs.rows)) == (["iprm"], 2)
    assert [variation._deviation_text(value) for value in (0.01234, float("nan"))] == ["1.23", "–"]


def test_without_a_tested_run_nothing_varies(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "joint", 0, status="failed")
    parts = Parts(load(tmp_path / "one"))
    assert variation_blocks(parts, tmp_path) == []
    assert variation_blocks(Parts(parts.runs.drop(columns="test_accuracy")), tmp_path) == []


def test_without_predictions_samples_are_not_compared(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for method in ("joint", "iprm"):
        results.run("one", method, 0)
    (block,) = variation_blocks(Parts(load(tmp_path / "one")), tmp_path)
    assert block.heading == "What the accuracy varies by"
