"""Published numbers in tables: each with the place that prints it, and what is peculiar about it."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from support.kept_texts import assert_reads_as_before
from support.synthetic_results import Results, all_hyperparameters, swept_alpha

from sweep.analysis.parts import Parts
from sweep.published import Cell
from sweep.report.published import _Places, published_blocks
from sweep.results.tables import load


def _listed(text: str) -> list[tuple[str, str]]:
    """Give number and citation of each place that a list of them names."""
    return re.findall(r"\[(\d+)\] (.*?)(?=; \[|\. )", text)


def test_on_other_data_the_table_names_no_number_as_ours(tmp_path: Path) -> None:
    table, sources = published_blocks(swept_alpha(tmp_path, "digits"))
    assert table.heading == "Published, on other datasets"
    assert table.table is not None
    (row,) = table.table.rows
    assert row[0] == "iprm: alpha=0.8"
    assert row[1].startswith("digits: ")
    numbers = dict(zip(table.table.columns, row, strict=True))
    assert numbers["CREMA-D"].startswith("84.27 [1")
    assert "best test epoch" in table.table.note
    assert "[1] lecture, " in sources.text
    assert "IJCAI 2025" in sources.text


def test_on_the_same_data_ours_stands_beside_with_its_best_test_epoch(tmp_path: Path) -> None:
    parts = swept_alpha(tmp_path, "crema_d")
    blocks = published_blocks(parts)
    block = blocks[0]
    assert block.heading == "Published, on the same dataset"
    assert block.table is not None
    row = next(r for r in block.table.rows if r[2] == "accuracy")
    best = parts.runs[parts.runs["vary.alpha"].eq(0.8)]
    assert row[3].startswith(f"{100 * best['test_accuracy'].mean():.1f} ± ")
    assert row[4].startswith(f"{100 * best['test_peak_accuracy'].mean():.1f} ± ")
    assert row[5].startswith("84.27 [")
    (place,) = (number for number, where in _listed(blocks[-1].text) if where == "IPRM paper, Table 2")
    assert place in row[5]


def test_numbers_bear_the_place_that_prints_them_and_their_notes() -> None:
    def cell(table: str, value: float, note: str = "", dataset: str = "sarcasm") -> Cell:
        return Cell("iprm_paper", table, "iprm", "", dataset, "multi", "accuracy", value, note)

    places = _Places()
    found = [cell("Table 1", 64.55, "bold (best)"), cell("Table 2", 63.1), cell("Table 3", 64.55, "bold (best)")]
    assert places.numbers_text(found) == "63.10 [1] / 64.55 [2, 3]"
    assert places.notes_text(found) == "64.55 [2, 3]: bold (best)"
    assert places.notes_text(found[:1], named=True) == "Sarcasm 64.55 [2]: bold (best)"
    assert (places.numbers_text([]), places.notes_text(found[1:2])) == ("–", "–")
    assert _listed(places.text()) == [
        ("1", "IPRM paper, Table 2"), ("2", "IPRM paper, Table 1"), ("3", "IPRM paper, Table 3")
    ]  # fmt: skip


def test_costs_stand_beside_the_published_ones(tmp_path: Path) -> None:
    swept = swept_alpha(tmp_path, "crema_d").runs
    assert all(block.heading != "Cost beside joint training" for block in published_blocks(Parts(swept)))
    results = Results(tmp_path / "more", "crema_d")
    results.sweep("one")
    for seed in range(3):
        results.run("one", "joint", seed, role="reference", hyperparameters=all_hyperparameters("joint"))
    together = pd.concat([swept, load(tmp_path / "more" / "one")], ignore_index=True)
    seconds = together["method"].map({"joint": 2.0, "iprm": 3.0})
    runs = together.assign(hash=[str(number) for number in together.index], seconds_per_epoch=seconds)
    block = next(b for b in published_blocks(Parts(runs)) if b.heading == "Cost beside joint training")
    assert block.table is not None
    (row,) = block.table.rows
    assert row[:2] == ["iprm: alpha=0.8", "crema_d"]
    assert row[2].startswith("1.50 (1.50 to 1.50, n = ")
    assert row[3].startswith("1.04 [")
    assert_reads_as_before("published", published_blocks(Parts(runs)))
    assert_reads_as_before("published-elsewhere", published_blocks(Parts(runs.assign(dataset="digits"))))
