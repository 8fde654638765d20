"""Standings: the best configuration of each method on validation, beside both baselines."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from support.synthetic_results import Results, two_splits

from sweep.analysis.many_to_one import least_p
from sweep.analysis.parts import Parts
from sweep.analysis.standings import _of_first_label, difference_verdict, leader_sentences, standings
from sweep.results.tables import columns_of, load

PLAIN, LOSSES = {"unimodal_loss_weight": 0.0}, {"unimodal_loss_weight": 1.0}


def sweep_of(folder: Path, seeds: int = 4, lost: str | None = None, reports: bool = False, **levels: float) -> Parts:
    """Joint training at 0.7, with unimodal losses at 0.8, and methods at levels, each with a worse configuration, too.
    Runs scatter by a little; lost: the method whose first seed diverged; reports: fresh seeds half a point lower."""
    results = Results(folder)
    results.sweep("one")
    for seed in range(seeds):
        shift = 0.004 * (seed % 2)

        def accuracy(level: float, own: int, shift: float = shift, seed: int = seed) -> dict[str, float]:
            fused = level + shift + 0.001 * ((seed * 7 + own * 3) % 5)
            return {"multi": fused, "left": 0.6, "profile": 0.3 + 0.01 * own}

        for own, (label, level, given) in enumerate((("joint", 0.7, PLAIN), ("joint + unimodal losses", 0.8, LOSSES))):
            kept = {"hyperparameters": given, "label": label, "role": "reference"}
            results.run("one", "joint", seed, accuracy(level, own), **kept)
        for own, (method, level) in enumerate(levels.items(), start=2):
            for alpha, less in ((0.1, 0.0), (0.2, 0.1)):
                status = "diverged" if method == lost and seed == 0 and not less else "done"
                found, values = accuracy(level - less, own), {"alpha": alpha}
                results.run("one", method, seed, found, values=values, status=status, forward_passes=3600.0)
            if reports:
                results.run(
                    "one", method, 100 + seed, accuracy(level - 0.005, own), values={"alpha": 0.1}, role="report"
                )
        if reports:
            results.run("one", "joint", 100 + seed, accuracy(0.69, 0), hyperparameters=PLAIN, role="report")
    return Parts(load(folder / "one"))


def test_each_method_is_its_best_on_validation_and_the_best_comes_first(tmp_path: Path) -> None:
    table = standings(sweep_of(tmp_path, iprm=0.9, bss=0.75))
    assert table["label"].tolist() == ["iprm", "joint + unimodal losses", "bss", "joint"]
    assert table["point"].tolist() == ["alpha=0.1", "", "alpha=0.1", ""]
    assert table["of"].tolist() == [2, 1, 2, 1]
    assert table["baseline"].tolist() == [False, True, False, True]
    assert table["n"].tolist() == [4] * 4
    assert not table["fresh"].any()
    assert table["validation"][0] == pytest.approx(table["test"][0] + 0.01)
    assert table["joint"][0] == pytest.approx(0.2, abs=0.005)
    assert table["unimodal"][2] == pytest.approx(-0.05, abs=0.005)
    assert table["joint_verdict"].tolist() == ["better", "better", "better", ""]
    assert table["unimodal_verdict"].tolist() == ["better", "", "worse", "worse"]
    assert table["weak_modality"].tolist() == ["profile"] * 4
    assert table["cost"].tolist() == [2, 1, 2, 1]
    assert table["imbalance"].tolist() == pytest.approx([0.3] * 4)
    (sentence,) = leader_sentences(table)
    assert sentence.startswith("On digits iprm leads: 9")
    assert "better beyond chance than joint training (+19.98 points)" in sentence
    assert "baseline" not in sentence


def test_an_ensemble_is_a_baseline_and_everything_is_compared_with_it(tmp_path: Path) -> None:
    table = standings(sweep_of(tmp_path, iprm=0.9, ensemble=0.85))
    found = table.set_index("label")
    assert found["baseline"].to_dict() == {
        "iprm": False, "ensemble": True, "joint + unimodal losses": True, "joint": True
    }  # fmt: skip
    assert found["ensemble"]["iprm"] == pytest.approx(0.05, abs=0.005)
    assert found["ensemble_verdict"].to_dict() == {
        "iprm": "better", "ensemble": "", "joint + unimodal losses": "worse", "joint": "worse"
    }  # fmt: skip
    (sentence,) = leader_sentences(table)
    assert "better beyond chance than the ensemble of unimodal models (+" in sentence
    assert standings(sweep_of(tmp_path / "without", iprm=0.9))["ensemble"].isna().all()


def test_the_better_unimodal_model_stands_for_all_of_them(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed in range(3):
        results.run("one", "iprm", seed, {"multi": 0.9, "left": 0.4, "profile": 0.7})
        for modality, level in (("left", 0.6), ("profile", 0.8)):
            kept = {"label": "best unimodal", "role": "reference", "values": {"modality": modality}}
            results.run("one", "unimodal", seed, {"multi": level, modality: level}, **kept)
    table = standings(Parts(load(tmp_path / "one"))).set_index("label")
    assert table["point"]["best unimodal"] == "modality=profile"
    assert (table["of"]["best unimodal"], table["test"]["best unimodal"]) == (2, pytest.approx(0.8))
    assert table["weak_modality"].to_dict() == {"best unimodal": "", "iprm": "left"}
    assert table["imbalance"].isna().to_dict() == {"best unimodal": True, "iprm": False}


def test_a_baseline_that_leads_is_said_to_lead(tmp_path: Path) -> None:
    table = standings(sweep_of(tmp_path, iprm=0.701, bss=0.75))
    (sentence,) = leader_sentences(table)
    assert sentence.startswith("On digits joint + unimodal losses leads: a baseline, 8")
    assert sentence.endswith("better than joint training beyond chance: bss.")
    assert table.set_index("label")["joint_verdict"]["iprm"] == "no difference shown"
    (sentence,) = leader_sentences(standings(sweep_of(tmp_path / "none", iprm=0.701)))
    assert sentence.endswith("no method is shown to be better.")


def test_methods_that_are_equal_on_validation_are_not_said_to_lead(tmp_path: Path) -> None:
    table = standings(sweep_of(tmp_path, iprm=0.9, bss=0.85))
    table.loc[1, "validation"] = table.loc[0, "validation"]
    (sentence,) = leader_sentences(table)
    assert sentence.startswith("On digits iprm is listed first, equal on validation to bss: 9")


@pytest.mark.parametrize(("labels", "kept"), [("aba", [0, 2]), ("abb", [0]), ("a", [0]), ("", [])])
def test_of_several_entries_of_one_method_the_first_is_the_baseline(labels: str, kept: list[int]) -> None:
    assert _of_first_label(pd.DataFrame({"label": list(labels)})).index.tolist() == kept


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "better"),
        ({"mean": -0.1}, "worse"),
        ({"p_adjusted": 0.05}, "no difference shown"),
        ({"p_adjusted": 0.0499}, "better"),
        ({"p_adjusted": math.nan}, "cannot be judged"),
        ({"lost": 1}, "not claimed"),
        ({"repeats": 1}, ""),
        ({"repeats": 1, "lost": 1}, ""),
        ({"comparisons": 0.05 / least_p(5)}, "cannot be judged"),
        ({"comparisons": 0.049 / least_p(5)}, "better"),
    ],
)
def test_a_difference_is_judged_by_its_corrected_p_value(changes: dict[str, float], verdict: str) -> None:
    row = {"repeats": 5, "lost": 0, "p_adjusted": 0.01, "comparisons": 1, "mean": 0.1}
    assert difference_verdict(row | changes) == verdict


def test_what_lost_seeds_is_not_claimed_and_two_seeds_judge_nothing(tmp_path: Path) -> None:
    table = standings(sweep_of(tmp_path / "lost", lost="iprm", iprm=0.9, bss=0.75)).set_index("label")
    assert table.loc["iprm", "point"] == "alpha=0.2"  # of those with most seeds
    table = standings(sweep_of(tmp_path / "two", seeds=2, iprm=0.9, bss=0.75)).set_index("label")
    assert table.loc["iprm", "joint_verdict"] == "cannot be judged"
    assert table.loc["joint", "joint_verdict"] == ""


def test_fresh_seeds_stand_where_there_are_some(tmp_path: Path) -> None:
    table = standings(sweep_of(tmp_path, reports=True, iprm=0.9)).set_index("label")
    assert table["fresh"].to_dict() == {"iprm": True, "joint + unimodal losses": False, "joint": True}
    assert table.loc["iprm", "joint"] == pytest.approx(0.205, abs=0.005)  # both under report seeds
    assert math.isnan(table.loc["joint + unimodal losses", "joint"])  # no common seeds


def test_without_test_metrics_validation_is_compared(tmp_path: Path) -> None:
    runs = sweep_of(tmp_path, iprm=0.9).runs
    table = standings(Parts(runs.drop(columns=columns_of(runs, "test_"))))
    assert table["test"].isna().all()
    assert table["joint"][0] == pytest.approx(0.2, abs=0.005)
    assert "on test" not in leader_sentences(table)[0]


def test_what_a_search_adds_to_its_first_configuration_is_told(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for number, level in enumerate((0.8, 0.85, 0.7)):
        for seed in range(3):
            found = {"multi": level + 0.01 * seed * (1 + number), "left": 0.6, "profile": 0.3}
            results.run("one", "iprm", seed, found, values={"alpha": 0.1 * number}, number=number)
    table = standings(Parts(load(tmp_path / "one")))
    assert table["point"].tolist() == ["alpha=0.1"]
    assert table["tuning"][0] == pytest.approx(0.06)
    assert 0 < table["tuning_low"][0] < 0.06 < table["tuning_high"][0]
    assert standings(sweep_of(tmp_path / "grid", iprm=0.9))["tuning"].isna().all()


def test_nothing_that_ran_has_no_standings(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0, status="missing")
    table = standings(Parts(load(tmp_path / "one")))
    assert table["n"].tolist() == [0]
    assert leader_sentences(table) == []
    assert standings(Parts(load(tmp_path / "one").iloc[:0])).empty
    assert isinstance(table, pd.DataFrame)


def test_the_sentence_on_the_leader_is_whole(tmp_path: Path) -> None:
    table = standings(sweep_of(tmp_path, iprm=0.9, bss=0.75))
    assert leader_sentences(table) == [
        "On digits iprm leads: 91.3 ± 0.6 % on validation, 90.3 ± 0.6 % on test; better beyond chance than joint "
        "training (+19.98 points), better beyond chance than joint training with unimodal losses (+9.92 points)."
    ]
    others = {"bss": "worse", "joint": "no difference shown", "joint + unimodal losses": "cannot be judged"}
    for label, words in zip(
        others, ("worse beyond chance than", "not told apart from", "not to be judged against"), strict=True
    ):
        changed = table.assign(joint_verdict=others[label], unimodal_verdict="")
        assert f"; {words} joint training (+19.98 points)." in leader_sentences(changed)[0]
    assert leader_sentences(table.assign(joint_verdict="", unimodal_verdict=""))[0].endswith("90.3 ± 0.6 % on test.")
    assert leader_sentences(table.iloc[:1]) == []
    assert len(leader_sentences(table.iloc[:2])) == 1


def test_a_choice_on_each_of_two_splits_is_one_line(tmp_path: Path) -> None:
    table = standings(Parts(two_splits(tmp_path)))
    assert table[["label", "point", "of", "fresh", "n", "seeds", "lost", "splits"]].to_numpy().tolist() == [
        ["iprm", "chosen on each split", 3, True, 4, 4, 0, 2],
        ["joint", "", 1, True, 4, 4, 0, 2],
    ]
    assert table["test"].tolist() == pytest.approx([0.865, 0.71])
    assert table["validation"].tolist() == pytest.approx([0.875, 0.72])
    # Over two splits: t(1) times the deviation of their means over sqrt(2).
    assert table["test_low"].tolist() == pytest.approx([0.865 - 12.7062 * 0.02, 0.71 - 12.7062 * 0.01], abs=1e-5)
    assert table["test_high"].tolist() == pytest.approx([1, 0.71 + 12.7062 * 0.01], abs=1e-5)
    assert table["joint"][0] == pytest.approx(0.155)
    assert table["joint_verdict"].tolist() == ["no difference shown", ""]
    assert table["weak"].tolist() == pytest.approx([0.3, 0.3])


def test_datasets_stand_in_their_order_and_each_has_its_own_comparison(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for results.dataset, better in (("digits", 0.1), ("av_digits", -0.1)):
        for seed in range(3):
            found = {"multi": 0.6 + 0.01 * seed, "left": 0.5, "profile": 0.5 - better}
            results.run("one", "joint", seed, found, hyperparameters=PLAIN, forward_passes=100.0)
            above = found | {"multi": found["multi"] + better}
            results.run("one", "iprm", seed, above, forward_passes=100.0 * (1 + seed))
    table = standings(Parts(load(tmp_path / "one")))
    assert table[["dataset", "label"]].to_numpy().tolist() == [
        ["digits", "iprm"],
        ["digits", "joint"],
        ["av_digits", "joint"],
        ["av_digits", "iprm"],
    ]
    assert table["joint"].tolist() == pytest.approx([0.1, math.nan, math.nan, -0.1], nan_ok=True)
    assert table["joint_verdict"].tolist() == ["better", "", "", "worse"]
    assert table["cost"].tolist() == pytest.approx([2, 1, 1, 2])
    assert table["weak_modality"].tolist() == ["profile", "profile", "left", "left"]
    assert table["weak_low"].tolist() == pytest.approx([0.4 - 0.003586] * 2 + [0.5 - 0.003586] * 2, abs=1e-5)
    assert [each.split(" leads")[0] for each in leader_sentences(table)] == ["On digits iprm", "On av_digits joint"]
    without = standings(Parts(load(tmp_path / "one").drop(columns="forward_passes")))
    assert without["cost"].isna().all()


def test_lost_and_unfinished_runs_are_counted_and_what_lost_one_is_not_claimed(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed in range(4):
        results.run("one", "joint", seed, {"multi": 0.6 + 0.01 * seed}, hyperparameters=PLAIN)
        status = {0: "diverged", 1: "done", 2: "done", 3: "running"}[seed]
        results.run("one", "iprm", seed, {"multi": 0.8 + 0.01 * seed}, status=status)
        results.run("one", "bss", seed, {"multi": 0.8}, status="done" if seed == 0 else "missing")
    table = standings(Parts(load(tmp_path / "one"))).set_index("label")
    assert table[["n", "seeds", "lost"]].T.to_dict("list") == {"bss": [1, 4, 0], "iprm": [2, 4, 1], "joint": [4, 4, 0]}
    assert table["joint_verdict"].to_dict() == {"bss": "", "iprm": "not claimed", "joint": ""}
    assert table["joint"]["iprm"] == pytest.approx(0.2)
    assert table["weak_modality"].tolist() == ["", "", ""]
    assert table["weak"].isna().all()
