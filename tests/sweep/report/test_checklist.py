"""The checklist of a paper: what it names that nobody but the author knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from support.kept_texts import assert_as_before
from support.synthetic_results import Results, alpha_sweep, noisy, two_splits

import data
from sweep.analysis.completeness import SweepRequest, read_request
from sweep.analysis.parts import Parts
from sweep.report import checklist as checklist_module
from sweep.report.checklist import checklist
from sweep.results.tables import load


def test_the_licence_of_a_pretrained_backbone_is_to_be_filled_in(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one", "method: moka\nseeds: [0]\n")
    results.run("one", "moka", 0, noisy(0, 0.9, 0.8, 0.5), hyperparameters={"pretrained": "owner/llama"})
    text = checklist(Parts(load(results.path / "one")), read_request(results.path / "one"), "")
    assert "[ ] Licence of the pretrained weights owner/llama: to be filled in" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([3, 1.5, None, 1.5], "1.5, 3"),
        (["b", "a", "", "b"], "b, a"),
        ([2, "a"], "2, a"),
        (range(10), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (range(11), "0, 1, 2 ... 10 (11)"),
        ([], ""),
    ],
)
def test_of_many_values_the_first_and_the_last_are_listed(values: Any, said: str) -> None:
    assert checklist_module._listed(pd.Series(list(values), dtype=object)) == said


def test_budgets_count_configurations_and_runs() -> None:
    ended = pd.DataFrame({"label": [*"aab"], "configuration": ["1", "2", "1"], "epochs": [5, 5, 9]})
    ended = ended.assign(epochs_trained=[5, 5, 18], status="done")
    asked = SweepRequest(None, None, (), 2, "", None)
    assert checklist_module._budgets(ended, asked) == (
        "a 2 configurations, 2 runs, 5 epochs a run; b 1 configuration, 1 run, 18 epochs a run (budget 9)."
    )
    limited = replace(asked, budget="5 runs")
    assert checklist_module._budgets(ended.iloc[2:].assign(status="failed"), limited) == (
        "b 1 configuration, 1 run, no run trained to its end. A driver stops after 5 runs."
    )


def test_spaces_seeds_and_lost_runs_are_told_as_far_as_there_are_any() -> None:
    swept = pd.DataFrame(
        {"label": [*"abc"], "number": [0, None, None], "vary.x": [0.1, 0.2, None], "vary.y": [1, None, None]}
    ).assign(seed=[0, 1, 1])
    none, parts = swept.iloc[:0], SimpleNamespace
    alone: Any = parts(swept=swept, references=none, reports=none)
    assert checklist_module._spaces(alone) == (
        "a searched over x, y; b listed over x; c at fixed values; ranges in the file below."
    )
    assert checklist_module._seeds(alone) == "0, 1 for every configuration."
    whole: Any = parts(swept=swept, references=swept.assign(seed=2), reports=swept.assign(seed=7))
    assert checklist_module._seeds(whole) == (
        "0, 1 for every configuration; 2 for the references; 7, fresh, for what was chosen."
    )
    ends = pd.DataFrame({"status": ["done", "failed", "pruned", "failed", "running"]})
    assert checklist_module._lost(ends) == "2 failed, 1 pruned."
    assert checklist_module._lost(ends.iloc[:1]) == "none."


def test_compute_and_software_are_told_as_far_as_they_are_on_record() -> None:
    ended = pd.DataFrame({"seconds": [3600.0, 1800.0], "env.processor": ["x86", "x86"], "env.gpus": ["", ""]})
    assert checklist_module._compute(ended) == "1.50 hours of training in all, on x86."
    assert checklist_module._compute(ended.assign(**{"env.gpus": "H100"})).endswith("in all, on x86, H100.")
    assert checklist_module._compute(ended[[]]) == "0.00 hours of training in all, on machines not recorded."
    told = {"env.python": "3.11", "env.packages.torch": ["2.1", "2.2"], "env.git": "abc"}
    assert checklist_module._software(ended.assign(**told)) == "python 3.11, torch 2.1, 2.2, git abc."
    assert checklist_module._software(ended) == "."
    runs = pd.DataFrame({"dataset": ["d", "d", "c"], "fingerprint": ["1", "2", "3"]})
    assert checklist_module._data(runs) == "c, fingerprint 3; d, fingerprint 1, 2."
    assert checklist_module._data(runs[["dataset"]]) == "c, fingerprint ; d, fingerprint ."


def test_terms_are_the_datasets_own_and_those_of_weights_nobodys() -> None:
    runs = pd.DataFrame(
        {"dataset": ["digits", "elsewhere"], "encoder.left": ['{"name": "a", "pretrained": "w"}', "{}"]}
    )
    found = dict(checklist_module._licences(runs))
    assert found == {
        "Licence of digits": f"{data.get('digits').terms}.",
        "Licence of elsewhere": "",
        "Licence of the pretrained weights w": "",
    }
    plain = dict(checklist_module._licences(runs[["dataset"]]))
    assert plain["Pretrained weights"] == "none."


def test_the_checklist_reads_as_before(tmp_path: Path) -> None:
    folder = alpha_sweep(tmp_path).path / "iprm-alpha"
    text = (folder / "sweep.yaml").read_text()
    assert_as_before("report/checklist", [checklist(Parts(load(folder)), read_request(folder), text)])
    splits = Parts(two_splits(tmp_path / "splits"))
    assert_as_before("report/checklist-of-splits", [checklist(splits, read_request(tmp_path / "splits" / "one"), "")])
