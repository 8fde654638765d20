"""Severities are conditions: whatever is chosen or compared is so at one of them."""

from __future__ import annotations

from pathlib import Path

from support.corrupted_results import NOISE, noisier_and_noisier
from support.synthetic_results import alpha_sweep

from sweep.analysis.conclusions import conclusions
from sweep.analysis.over_datasets import over_datasets
from sweep.analysis.parts import Parts
from sweep.analysis.severities import SOURCE, at_each_severity, severity_words
from sweep.analysis.standings import leader_sentences, standings
from sweep.results.tables import load

AT = [f"digits at profile noise {severity}" for severity in (0, 1, 4)]


def test_each_severity_is_a_dataset_of_its_own_and_no_part_of_a_point(tmp_path: Path) -> None:
    runs = load(noisier_and_noisier(tmp_path))
    assert set(runs["dataset"]) == {"digits"}
    assert f"alpha=0.1, {NOISE}=4" in set(runs["point"])
    found = at_each_severity(runs)
    assert list(dict.fromkeys(found["dataset"])) == AT
    assert set(found["point"]) == {"", "alpha=0.1", "alpha=0.9"}
    assert set(found[SOURCE]) == {"digits"}
    assert at_each_severity(found) is found


def test_rows_without_severities_stay_as_they_are(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    runs = load(tmp_path / "iprm-alpha")
    assert at_each_severity(runs) is runs


def test_severities_are_written_for_people() -> None:
    assert severity_words("data.mfeat.corrupt.fou.drop=0.25") == "fou drop 0.25"
    assert severity_words("data.corrupt.a.noise=2, data.digits.corrupt.b.share=0.5") == "a noise 2, b share 0.5"


def test_configurations_are_chosen_at_each_severity_and_never_among_severities(tmp_path: Path) -> None:
    parts = Parts(load(noisier_and_noisier(tmp_path)))
    chosen = [(run["label"], run["dataset"], run["point"]) for run in parts.choices]
    assert chosen == [("iprm", dataset, "alpha=0.9") for dataset in AT]
    assert [[axis.name for axis in grid.axes] for grid in parts.grids] == [["alpha"]]
    table = standings(parts)
    assert {(row["label"], row["of"]) for row in table.to_dict("records")} == {("joint", 1), ("iprm", 2), ("igm", 1)}
    assert [text.split(" leads")[0] for text in leader_sentences(table)] == [f"On {dataset} iprm" for dataset in AT]
    assert over_datasets(parts, table) is None
    said = " ".join(conclusions(parts))
    assert "the best of 2 and so optimistic" in said
    assert "noise=" not in said
    assert {*parts.baseline["dataset"]} == set(AT)
