"""The table that a report opens with."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from support.kept_texts import assert_reads_as_before
from support.synthetic_results import Results, alpha_sweep, noisy, two_splits

from sweep.analysis.parts import Parts
from sweep.analysis.standings import standings
from sweep.commands.report import print_standings
from sweep.report.standings import HEADINGS, standing_blocks, standing_rows
from sweep.results.tables import load


def test_a_line_a_method_with_its_choice_and_its_differences(tmp_path: Path) -> None:
    alpha_sweep(tmp_path, failing=False)
    table = standings(Parts(load(tmp_path / "iprm-alpha")))
    (block,) = standing_blocks(table)
    assert block.table is not None
    assert block.table.best == {0}
    assert "report_seeds would train it again" in block.table.note
    assert "To joint training a difference of " in block.table.note
    assert "ensemble" not in block.table.note
    rows = {row[0]: dict(zip(block.table.columns, row, strict=True)) for row in block.table.rows}
    assert set(rows) == {"iprm: alpha=0.7 (best of 9)", "joint (baseline)", "joint + unimodal losses (baseline)"}
    own = rows["iprm: alpha=0.7 (best of 9)"]
    assert own["minus joint"].startswith(f"{100 * table.set_index('label')['joint']['iprm']:+.1f} ± ")
    assert own["minus joint"].endswith(("better", "not shown"))
    assert own["weak branch"].startswith("profile 5")
    assert rows["joint (baseline)"]["minus joint"] == "–"
    assert not {"dataset", "tuning gave", "minus ensemble"} & own.keys()
    assert own["cost"] == "2.67"  # eight epochs where joint training has three


def test_what_tuning_gave_is_shown_of_a_search(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for number, level in enumerate((0.80, 0.82)):
        for seed in range(3):
            found = noisy(seed, level, 0.8, 0.4)
            results.run("one", "iprm", seed, found, values={"alpha": 0.1 * number}, number=number)
            results.run("one", "bss", seed, found, label=f"bss {number}")
    table = standings(Parts(load(tmp_path / "one")))
    (block,) = standing_blocks(table)
    assert block.table is not None
    assert set(block.table.columns) <= set(HEADINGS)
    gave = {row[0]: row[-1] for row in block.table.rows}
    assert gave["iprm: alpha=0.1 (best of 2)"] == f"{100 * table['tuning'].max():+.1f} ± {1e2 * half(table):.1f}"
    assert gave["bss 0"] == "–"
    assert "under the search's own seeds" in block.table.note


def test_columns_without_any_value_are_left_out(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed in range(3):
        for label, level in (("iprm", 0.8), ("aug", 0.7)):
            results.run("one", label, seed, noisy(seed, level, 0.8, 0.4))
    (block,) = standing_blocks(standings(Parts(load(tmp_path / "one"))))
    assert block.table is not None
    assert block.table.columns == [name for name in HEADINGS if name in block.table.columns]
    assert not {name for name in block.table.columns if name.startswith("minus ")}
    assert all({*column} != {"–"} for column in zip(*block.table.rows, strict=True))


def half(table: pd.DataFrame) -> float:
    return float((table["tuning_high"] - table["tuning"]).max())


def test_one_method_alone_is_no_table(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    alone = load(tmp_path / "iprm-alpha").query("method == 'iprm'")
    table = standings(Parts(alone))
    assert standing_blocks(table) == []
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_standings(table, "iprm-alpha", console)
    assert console.export_text() == ""


def test_the_terminal_says_who_leads(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    table = standings(Parts(load(tmp_path / "iprm-alpha")))
    console = Console(width=170, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_standings(table, "iprm-alpha", console)
    text = console.export_text()
    assert "dataset" not in text
    assert "On digits joint + unimodal losses leads: a baseline" in text
    assert all(row[3] in text for row in standing_rows(table))


def test_the_first_table_reads_as_before(tmp_path: Path) -> None:
    found = standings(Parts(two_splits(tmp_path)))
    assert_reads_as_before("standings", standing_blocks(found))
