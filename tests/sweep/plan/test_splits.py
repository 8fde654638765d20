"""The splits of a sweep: everything once on each of them, and a configuration the same on all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.small_runs import make_plan

from sweep.config import ConfigError
from sweep.runs.identity import run_hash

BOTH = ["joint", "joint + unimodal losses"]
GRID = {"vary": {"alpha": {"grid": [0.1, 0.5]}}, "references": BOTH}
SEARCH = {"vary": {"alpha": "auto"}, "search": {"algorithm": "random", "configurations": 2}, "references": BOTH}


def test_every_configuration_and_reference_is_planned_on_each_split_and_is_the_same_on_all(tmp_path: Path) -> None:
    found = make_plan(tmp_path, splits=[4, 0], **GRID)
    assert [study.split for study in found.studies] == [4, 0]
    assert [[c.split for c in study.configurations] for study in found.studies] == [[4, 4], [0, 0]]
    assert [c.split for c in found.references] == [4, 4, 0, 0]
    first, second = ([c.key for c in study.configurations] for study in found.studies)
    assert first == second
    assert len(set(first)) == 2
    hashes = {run_hash(run) for study in found.studies for c in study.configurations for run in c.runs([0, 1])}
    assert len(hashes) == 8
    assert found.expected_runs() == 2 * 2 * (2 + 2)


def test_runs_on_the_datasets_own_split_are_those_of_a_sweep_without_splits(tmp_path: Path) -> None:
    plain, several = make_plan(tmp_path, **GRID), make_plan(tmp_path, splits=[0, 1], **GRID)
    own = plain.studies[0].configurations
    assert [run_hash(c.template) for c in own] == [run_hash(c.template) for c in several.studies[0].configurations]
    assert [c.key for c in own] == [c.key for c in several.studies[1].configurations]


def test_a_search_is_a_study_of_its_own_on_each_split_and_so_are_its_references(tmp_path: Path) -> None:
    keys = {**SEARCH, "vary": {"alpha": "auto", "train.lr": {"loguniform": [0.01, 0.1]}}}
    found = make_plan(tmp_path, splits=[0, 1], report_seeds=[7], **keys)
    names = [study.name for study in found.searches]
    assert names[:2] == ["s/iprm/digits/split 0", "s/iprm/digits/split 1"]
    assert names[2:] == [f"s/{label}/digits/split {n}" for n in (0, 1) for label in BOTH]
    assert {study.configuration(study.first[0]).split for study in found.searches if study.split == 1} == {1}
    assert make_plan(tmp_path, **SEARCH).searches[0].name == "s/iprm/digits"
    assert found.report_runs() == 6


def test_a_dataset_that_brings_its_splits_is_refused(tmp_path: Path) -> None:
    count = 30
    sides = np.array(["train"] * 18 + ["validation"] * 6 + ["test"] * 6)
    for number, given in enumerate((sides, np.where(sides == "validation", "train", sides))):
        path = tmp_path / f"{number}.npz"
        np.savez(path, a=np.eye(count, 3), b=np.ones((count, 2)), labels=np.arange(count) % 3, split=given)
        options = {"arrays": {"root": str(path), "modalities": ["a", "b"]}}
        if number:
            assert len(make_plan(tmp_path, datasets=["arrays"], data=options, splits=[0, 1]).studies) == 2
            continue
        with pytest.raises(ConfigError, match=r"sweeps\.s\.splits: arrays brings its own splits.*leave splits out"):
            make_plan(tmp_path, datasets=["arrays"], data=options, splits=[0, 1])
