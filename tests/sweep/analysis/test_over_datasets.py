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


# Methods that overlap ----------------------------------------------------------------------------------------------

OVERLAPPING = {
    ("joint", "a"): [0.5, 0.6, 0.55, 0.52], ("iprm", "a"): [0.56, 0.58, 0.5, 0.61],
    ("bss", "a"): [0.4, 0.62, 0.57, 0.5],
    ("joint", "b"): [0.5, 0.6, 0.55], ("iprm", "b"): [0.6, 0.65, 0.54], ("bss", "b"): [0.4, 0.62, 0.56],
    ("aug", "a"): [0.9, 0.9],
}  # fmt: skip
"""Label and dataset -> accuracy under each seed; one method has runs on one dataset alone."""


def frame_of(values: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """The runs of a sweep, as they are read, in the columns that count here."""
    return pd.DataFrame([
        {
            "label": label, "method": label, "dataset": dataset, "seed": seed, "hash": f"{label}{dataset}{seed}",
            "configuration": f"{dataset}-{label}", "role": "sweep", "number": None, "status": "done",
            "metric": "accuracy", "validation_accuracy": value, "test_accuracy": value,
        }
        for (label, dataset), found in values.items()
        for seed, value in enumerate(found)
    ])  # fmt: skip


def verdicts(runs: pd.DataFrame, **verdict: str) -> pd.DataFrame:
    found = runs.drop_duplicates(["label", "dataset"])[["label", "dataset"]]
    return found.assign(joint_verdict=found["label"].map(verdict).fillna(""))


def test_intervals_are_of_runs_drawn_again_on_each_dataset() -> None:
    runs = frame_of(OVERLAPPING)
    found = over_datasets(Parts(runs), verdicts(runs, iprm="better", bss="not claimed"), draws=50)
    assert found is not None
    assert (found.datasets, found.metric, found.left_out) == (("a", "b"), "test_accuracy", ("aug",))
    assert np.isnan([found.friedman_p, found.critical]).all()
    table = found.table.set_index("label")
    assert list(table.index) == ["iprm", "joint", "bss"]
    assert table["rank"].tolist() == [1, 2, 3]
    expected = {
        label: np.mean([
            mannwhitneyu(OVERLAPPING[label, each], OVERLAPPING["joint", each]).statistic
            / (len(OVERLAPPING[label, each]) * len(OVERLAPPING["joint", each]))
            for each in "ab"
        ])
        for label in ("iprm", "bss")
    }  # fmt: skip
    assert table["improvement"].to_dict() == pytest.approx({**expected, "joint": np.nan}, nan_ok=True)
    assert table[["wins", "ties", "losses"]].to_numpy().tolist() == [[2, 0, 0], [0, 0, 0], [0, 2, 0]]
    # The draws begin alike at each call.
    assert table[["rank_low", "rank_high"]].to_numpy() == pytest.approx(np.array([[1, 2], [1.5, 3], [1.1125, 3]]))
    ends = table.loc[["iprm", "bss"], ["improvement_low", "improvement_high"]].to_numpy()
    assert ends == pytest.approx(np.array([[0.307422, 0.932335], [0.311979, 0.846875]]), abs=1e-6)


def test_only_finished_runs_with_a_value_count_and_of_one_seed_the_first() -> None:
    runs = frame_of(OVERLAPPING)
    once = over_datasets(Parts(runs), verdicts(runs), draws=20)
    beside = runs.iloc[:3].assign(test_accuracy=[0.0, 0.1, np.nan], status=["failed", "done", "done"], hash=[*"xyz"])
    beside["seed"] = [7, 1, 8]
    again = over_datasets(Parts(pd.concat([runs, beside])), verdicts(runs), draws=20)
    assert once is not None
    assert again is not None
    pd.testing.assert_frame_equal(again.table, once.table)


def test_without_joint_training_ranks_are_compared_alone() -> None:
    runs = frame_of({key: values for key, values in OVERLAPPING.items() if key != ("joint", "b")})
    found = over_datasets(Parts(runs), verdicts(runs), draws=5)
    assert found is not None
    assert found.left_out == ("joint", "aug")
    assert found.table["improvement"].isna().all()
    one = runs[runs["label"].ne("bss")]
    assert over_datasets(Parts(one), verdicts(one), draws=5) is None
    untested = runs.drop(columns=["test_accuracy", "validation_accuracy"]).assign(validation_accuracy=np.nan)
    assert over_datasets(Parts(untested), verdicts(untested), draws=5) is None


def test_two_methods_on_five_datasets_are_not_tested_and_three_are() -> None:
    levels = {(label, f"d{n}"): [0.5 + gap + n / 100] * 2 for n in range(5) for label, gap in (("a", 0), ("b", 0.1))}
    for added, tested in (({}, False), ({("c", f"d{n}"): [0.7] * 2 for n in range(5)}, True)):
        runs = frame_of(levels | added)
        found = over_datasets(Parts(runs), verdicts(runs), draws=2)
        assert found is not None
        assert np.isnan([found.friedman_p, found.critical]).tolist() == [not tested] * 2
    four = frame_of({key: found for key, found in (levels | added).items() if key[1] != "d4"})
    few = over_datasets(Parts(four), verdicts(four), draws=2)
    assert few is not None
    assert np.isnan(few.critical)


def test_cliques_are_the_longest_runs_that_are_not_told_apart() -> None:
    def cliques(*ranks: float, critical: float = 1.0) -> list[tuple[int, int]]:
        return OverDatasets(pd.DataFrame({"rank": ranks}), (), "", 0.0, critical, ()).cliques()

    assert cliques(1, 2, 3, 5) == [(0, 1), (1, 2)]
    assert cliques(1, 1.5, 2, 2.5, 4) == [(0, 2), (1, 3)]
    assert cliques(1, 1.2, 2) == [(0, 2)]
    assert cliques(1, 3) == []
