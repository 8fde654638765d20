"""The checklist of a paper: what it names that nobody but the author knows."""

from __future__ import annotations

from pathlib import Path

from support.kept_texts import assert_as_before
from support.synthetic_results import Results, alpha_sweep, noisy, two_splits

from sweep.analysis.completeness import read_request
from sweep.analysis.parts import Parts
from sweep.report.checklist import checklist
from sweep.results.tables import load


def test_the_licence_of_a_pretrained_backbone_is_to_be_filled_in(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one", "method: moka\nseeds: [0]\n")
    results.run("one", "moka", 0, noisy(0, 0.9, 0.8, 0.5), hyperparameters={"pretrained": "owner/llama"})
    text = checklist(Parts(load(results.path / "one")), read_request(results.path / "one"), "")
    assert "[ ] Licence of the pretrained weights owner/llama: to be filled in" in text


def test_the_checklist_reads_as_before(tmp_path: Path) -> None:
    folder = alpha_sweep(tmp_path).path / "iprm-alpha"
    text = (folder / "sweep.yaml").read_text()
    assert_as_before("report/checklist", [checklist(Parts(load(folder)), read_request(folder), text)])
    splits = Parts(two_splits(tmp_path / "splits"))
    assert_as_before("report/checklist-of-splits", [checklist(splits, read_request(tmp_path / "splits" / "one"), "")])
