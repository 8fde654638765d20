"""Tables of the report: configurations, differences to joint training, fronts, published numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from support.kept_texts import assert_reads_as_before
from support.seed_frames import of_many_blocks
from support.synthetic_results import Results, alpha_sweep, two_splits

from sweep.analysis.completeness import COMPLETE, raced_out_seeds
from sweep.analysis.conclusions import conclusions
from sweep.analysis.fronts import Front
from sweep.analysis.parts import Parts
from sweep.plan.not_applicable import NotApplicable
from sweep.report import tables
from sweep.report.tables import configurations, difference_blocks, number_blocks, pareto_blocks
from sweep.results.tables import load


def test_the_table_has_the_front_the_references_and_fresh_seeds(pareto_parts: Parts, pareto_front: Front) -> None:
    (block,) = pareto_blocks(pareto_parts, [pareto_front])
    assert block.table is not None
    assert [row[0] for row in block.table.rows] == [
        "alpha=0", "alpha=0.1", "alpha=0.2", "joint (reference)", "joint + unimodal losses (reference)",
    ]  # fmt: skip
    assert block.table.best == {0, 1, 2}
    assert block.table.rows[0][4].endswith("(n = 3)")
    assert "1 out of the race after 1 seed, 1 without a finished seed" in block.table.note
    assert "beaten by none" in conclusions(pareto_parts, [pareto_front])[0]


def test_a_mean_over_fewer_seeds_is_listed_after_the_ranked_ones(pareto_folder: Path, pareto_parts: Parts) -> None:
    table = configurations(pareto_parts, ["validation_accuracy"], 20, 3, raced_out_seeds(pareto_folder))
    searched = table[table["role"].eq("sweep")]
    assert searched["point"].tolist() == [f"alpha={a}" for a in ("0", "0.1", "0.3", "0.2", "0.4", "0.5")]
    assert searched["state"].tolist() == [COMPLETE] * 4 + ["out of the race after 1 seed", "pruned after 2 epochs"]
    assert configurations(pareto_parts, ["validation_accuracy"], 4)["point"].tolist().count("alpha=0.4") == 0


@pytest.mark.filterwarnings("error::pandas.errors.PerformanceWarning")
def test_rows_of_many_columns_are_tabulated_like_others(pareto_parts: Parts) -> None:
    found = configurations(Parts(of_many_blocks(pareto_parts.runs)), ["validation_accuracy"], 20)
    pd.testing.assert_frame_equal(found, configurations(pareto_parts, ["validation_accuracy"], 20))


def test_what_a_method_refuses_stands_as_not_applicable_after_its_dataset_and_is_not_compared(tmp_path: Path) -> None:
    results = alpha_sweep(tmp_path)
    results.dataset = "other"
    results.run("iprm-alpha", "iprm", 0, values={"alpha": 0.5})
    parts = Parts(load(tmp_path / "iprm-alpha"))
    left_out = [NotApplicable("iprm", "digits", {"alpha": 2.0}, "too large"), NotApplicable("lfa", "new", {}, "no")]
    plain, with_left_out = number_blocks(parts, 5, {}, []), number_blocks(parts, 5, {}, [], left_out)
    assert plain[1:] == with_left_out[1:]
    (before, after) = (blocks[0].table for blocks in (plain, with_left_out))
    assert before is not None
    assert after is not None
    lacking = [row for row in after.rows if row[2] == "N/A"]
    place = after.columns.index("standing")
    assert [(row[0], row[1], row[place]) for row in lacking] == [
        ("iprm: alpha=2", "digits", "too large"), ("lfa", "new", "no")
    ]  # fmt: skip
    assert all(set(row[place + 1 :]) == {"N/A"} for row in lacking)
    assert [row for row in after.rows if row not in lacking] == before.rows
    datasets = [row[1] for row in after.rows]
    assert datasets == sorted(datasets, key=["digits", "other", "new"].index)
    assert [after.rows[i] for i in sorted(after.best)] == [before.rows[i] for i in sorted(before.best)]
    assert "N/A: the method refuses" in after.note
    assert "N/A" not in before.note


def test_of_one_modality_alone_no_imbalance_is_shown(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    runs = load(tmp_path / "iprm-alpha")
    runs = runs.assign(test_imbalance=0.25, method=runs["method"].where(runs["label"].ne("iprm"), "unimodal"))
    table = number_blocks(Parts(runs), 3, {}, [])[0].table
    assert table is not None
    shown = {row[0]: row[table.columns.index("test imbalance")] for row in table.rows}
    assert shown["joint (reference)"].startswith("25.0")
    assert {text for name, text in shown.items() if name.startswith("iprm")} == {"–"}


def test_differences_are_points_above_joint_training_with_corrected_p(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    parts = Parts(load(tmp_path / "iprm-alpha"))
    (block,) = difference_blocks(parts, "accuracy")
    assert block.table is not None
    rows = {row[0]: row for row in block.table.rows}
    assert len(rows) == 10
    runs = parts.planned[parts.planned["vary.alpha"].eq(0.1)].set_index("seed")["test_accuracy"]
    joint = parts.baseline.set_index("seed")["test_accuracy"]
    row = rows["iprm: alpha=0.1"]
    assert row[1:4] == ["digits", "3", f"{100 * (runs - joint).mean():+.2f}"]
    assert rows["iprm: alpha=0.4"][2] == "2"
    assert "joint + unimodal losses (reference)" in rows


def test_the_tables_show_what_was_lost(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    runs = load(tmp_path / "iprm-alpha")
    # Chance is 0.1: the values of both modalities add up to what the accuracy is above it.
    parts = Parts(runs.assign(test_shapley_profile=runs["test_accuracy"] - 0.6))
    configured, compared = number_blocks(parts, 3, {}, [])
    assert configured.table is not None
    assert compared.table is not None
    place = configured.table.columns.index("lost")
    assert configured.table.columns[place + 1] == "test accuracy, losses at chance"
    rows = {row[0]: row for row in configured.table.rows}
    done = runs[runs["vary.alpha"].eq(0.5) & runs["status"].eq("done")]["test_accuracy"]
    assert rows["iprm: alpha=0.5"][place : place + 2] == ["1 of 3 (33%)", f"{100 * (done.sum() + 0.1) / 3:.1f}"]
    assert rows["iprm: alpha=0.1"][place] == "0"
    lost = {row[0]: row[-1] for row in compared.table.rows}
    assert (lost["iprm: alpha=0.4"], lost["iprm: alpha=0.1"]) == ("1 of 3 (33%)", "0")
    complete = alpha_sweep(tmp_path / "complete", failing=False)
    (block, _) = number_blocks(Parts(load(complete.path / "iprm-alpha")), 3, {}, [])
    assert block.table is not None
    assert "lost" not in block.table.columns


def test_without_joint_training_there_are_no_differences(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0, values={"alpha": 0.1})
    assert difference_blocks(Parts(load(tmp_path / "one")), "accuracy") == []


def test_the_tables_read_as_before(tmp_path: Path, pareto_parts: Parts, pareto_front: Front) -> None:
    parts = Parts(load(alpha_sweep(tmp_path).path / "iprm-alpha"))
    left_out = [NotApplicable("iprm", "digits", {"alpha": 2.0}, "too large")]
    assert_reads_as_before("numbers", number_blocks(parts, 3, {}, [], left_out))
    assert_reads_as_before("numbers-of-a-front", number_blocks(pareto_parts, 3, {}, [pareto_front]))
    assert_reads_as_before("front", pareto_blocks(pareto_parts, [pareto_front]))
    assert_reads_as_before("numbers-of-splits", number_blocks(Parts(two_splits(tmp_path / "splits")), 2, {}, []))


def test_p_values_and_losses_are_written_briefly() -> None:
    assert [tables._p_text(value) for value in (float("nan"), 0.0009, 0.001, 0.25)] == [
        "–",
        "< 0.001",
        "0.001",
        "0.250",
    ]
    assert [tables._lost_text(*counts) for counts in ((0, 3), (1, 3))] == ["0", "1 of 3 (33%)"]


@pytest.mark.parametrize(("searched", "planned", "told"), [(20, 100, False), (21, 0, True), (0, 101, True)])
def test_of_many_configurations_the_note_says_that_the_best_are_shown(searched: int, planned: int, told: bool) -> None:
    frames = {"searched": searched, "planned": planned}
    parts: Any = SimpleNamespace(
        runs=pd.DataFrame({"seed": [0]}),
        **{name: pd.DataFrame({"configuration": range(count)}) for name, count in frames.items()},
    )
    note = tables._note(parts, ["test_accuracy"], False)
    assert ("Of many configurations the best 20 on validation" in note) is told
    assert "optimism is" not in note
    assert "optimism is" in tables._note(parts, ["optimism"], False)
    assert tables._note(parts, [], True).endswith("are comparable with none, and not ranked.")


def test_of_a_large_grid_the_best_are_tabulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.report.tables.MOST_PLANNED", 4)
    monkeypatch.setattr("sweep.report.tables.BEST_ROWS", 2)
    results = Results(tmp_path)
    results.sweep("one")
    for number in range(5):
        results.run("one", "iprm", 0, {"multi": 0.5 + number / 10}, values={"alpha": number / 10})
    (block,) = number_blocks(Parts(load(tmp_path / "one")), 1, {}, [])
    assert block.table is not None
    assert [row[0] for row in block.table.rows] == ["iprm: alpha=0.4", "iprm: alpha=0.3"]
    assert "the best 2 on validation of each method and dataset are shown" in block.table.note
    assert block.table.best == {0}
