"""The table of probabilities: a column for what is recorded of each head, a row a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.report.blocks import Table
from sweep.report.probabilities import probability_blocks
from sweep.results.tables import load


def table_of(folder: Path, runs: dict[str, list[dict[str, Any]]]) -> Table | None:
    """Tabulate runs: method -> metrics of the test split under each seed."""
    made = Results(folder)
    made.sweep("s")
    for method, of_seeds in runs.items():
        for seed, metrics in enumerate(of_seeds):
            path = made.run("s", method, seed) / "test.json"
            record = json.loads(path.read_text())
            record["metrics"] |= metrics
            path.write_text(json.dumps(record))
    blocks = probability_blocks(Parts(load(folder / "s")))
    assert [block.heading for block in blocks] in ([], ["Likelihood, calibration, ranking"])
    return blocks[0].table if blocks else None


def test_heads_and_metrics_are_columns_in_their_order_where_something_is_recorded(tmp_path: Path) -> None:
    values = {"test_nll": 0.5, "test_calibration_error": 0.05, "test_nll_profile": 1.25, "test_auroc_left": 0.875}
    table = table_of(tmp_path, {"joint": [values]})
    assert table is not None
    assert table.columns == [
        "configuration", "dataset", "n", "fused: NLL (nats)", "fused: calibration error (%)", "left: AUROC (%)",
        "profile: NLL (nats)",
    ]  # fmt: skip
    assert table.rows == [["joint", "digits", "1", "0.500", "5.0", "87.5", "1.250"]]
    assert "15 equal bins" in table.note


def test_seeds_are_a_mean_with_half_of_its_interval(tmp_path: Path) -> None:
    runs = {"joint": [{"test_nll": x, "test_auroc": 0.9} for x in (0.5, 0.6, 0.7)], "iprm": [{}], "bss": [{}]}
    table = table_of(tmp_path, runs)
    assert table is not None
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["joint"] == ["digits", "3", "0.600 ± 0.248", "90.0 ± 0.4"]
    assert rows["iprm"] == rows["bss"] == ["digits", "0", "–", "–"]


def test_runs_without_probabilities_have_no_table(tmp_path: Path) -> None:
    assert table_of(tmp_path, {"joint": [{}]}) is None
    assert probability_blocks(Parts(pd.DataFrame(load(tmp_path / "s")).assign(test_nll=float("nan")))) == []
