"""Outlines of plans: kept as long as nothing that the plan came from has changed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.small_runs import make_plan

from sweep.commands.outlines import OutlineKeeper, outline
from sweep.config import freeze
from sweep.results.outline import FILE, Outline, kept_outline
from sweep.runs import program


def options_of(folder: Path, *words: str, results: str | None = None) -> argparse.Namespace:
    where = str(folder / "results") if results is None else results
    return argparse.Namespace(names=["s", *words], file=folder / "sweeps.yaml", results=where)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(program, "code_digest", lambda: "0")
    (tmp_path / "sweeps.yaml").write_text("sweeps: {}")
    (tmp_path / "results" / "s").mkdir(parents=True)
    return tmp_path


def kept(folder: Path, **keys: Any) -> Outline:
    planned = make_plan(folder / "plan", **keys)
    OutlineKeeper(options_of(folder, "epochs=3")).keep(planned)
    return outline(planned)


def known(folder: Path, *words: str) -> Outline | None:
    return OutlineKeeper(options_of(folder, *(words or ("epochs=3",)))).known("s")


def test_an_outline_has_every_run_once_in_the_words_of_the_plan(tmp_path: Path) -> None:
    planned = make_plan(
        tmp_path, vary={"alpha": {"grid": [0.1, 0.5]}}, seeds=[3, 1], references=["joint"], title="T", reproduces="F"
    )
    twice = replace(planned, references=[*planned.references, *planned.references])
    found = outline(twice)
    assert [(each.label, each.values, each.dataset, list(each.seeds.values())) for each in found.configurations] == [
        ("joint", "", "digits", [3, 1]), ("joint", "", "digits", []),
        ("iprm", "alpha=0.1", "digits", [3, 1]), ("iprm", "alpha=0.5", "digits", [3, 1]),
    ]  # fmt: skip
    hashes = {run_hash for each in planned.listed for _, run_hash in each.hashed_runs([3, 1])}
    assert found.hashes == hashes
    assert (found.name, found.title, found.reproduces, found.frozen) == ("s", "T", "F", freeze(planned.sweep))
    assert (found.expected, found.may_end_sooner, found.is_listed, found.left_out) == (8, False, True, [])


def test_what_a_method_refuses_is_left_out_with_its_reason(tmp_path: Path) -> None:
    vary = {"modality": {"grid": ["left", "x"]}}
    found = outline(make_plan(tmp_path, method="unimodal", vary=vary, not_applicable="skip"))
    assert [(each.label, each.values, each.dataset) for each in found.left_out] == [
        ("unimodal", {"modality": "x"}, "digits")
    ]
    assert "no modality called 'x'" in found.left_out[0].reason


SEARCH = {"vary": {"alpha": {"uniform": [0.1, 0.9]}}, "search": {"algorithm": "random", "configurations": 2}}


@pytest.mark.parametrize("keys", [{"budget": {"runs": 1}}, {"report_seeds": [7]}, SEARCH])
def test_not_all_runs_are_listed_of_what_is_proposed_chosen_or_cut_short(tmp_path: Path, keys: dict[str, Any]) -> None:
    assert not outline(make_plan(tmp_path, **keys)).is_listed


def test_an_outline_is_known_again(folder: Path) -> None:
    assert known(folder) is None
    outlined = kept(folder)
    found = known(folder)
    assert found is not None
    assert found.model_copy(update={"asked": ""}) == outlined
    assert kept_outline(folder / "results" / "s") == found
    assert OutlineKeeper(options_of(folder, "epochs=3")).known("other") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "sweeps.yaml").write_text("sweeps: {s: {}}"),
        lambda folder: (folder / "sweeps.yaml").unlink(),
        lambda folder: (folder / "results" / "s" / FILE).write_text("{"),
        lambda folder: damage(folder / "results" / "s" / FILE),
    ],
)
def test_of_what_has_changed_nothing_is_known(folder: Path, change: Callable[[Path], object]) -> None:
    kept(folder)
    change(folder)
    assert known(folder) is None


def damage(path: Path) -> None:
    path.write_text(path.read_text().replace("iprm", "iprn"))


def test_other_words_other_code_and_other_packages_have_other_outlines(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(folder)
    assert known(folder, "epochs=4") is None
    with monkeypatch.context() as patched:
        patched.setattr(program, "code_digest", lambda: "1")
        assert known(folder) is None
    (tmp_path / "torch-3.dist-info").mkdir()
    with monkeypatch.context() as patched:
        patched.syspath_prepend(tmp_path)
        assert known(folder) is None
    assert known(folder) is not None


def test_no_outline_is_kept_of_plans_that_depend_on_files_elsewhere_or_of_results_elsewhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.commands.outlines.depends_on_files_elsewhere", lambda sweep: True)
    kept(folder)
    assert known(folder) is None
    monkeypatch.undo()
    planned, remote = make_plan(folder / "plan"), OutlineKeeper(options_of(folder, results="s3://bucket/results"))
    remote.keep(planned)
    assert remote.known("s") is None
