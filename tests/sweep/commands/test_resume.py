"""``python -m sweep resume``: sweeps go on as they were frozen, whatever their file says by now."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import pytest
from support.command_desk import Desk

from sweep.commands import resume
from sweep.commands.main import main
from sweep.config import Sweep, freeze, load
from sweep.runs.mirror import MirroredStore


def test_sweeps_go_on_as_they_were_frozen(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, int, bool]] = []

    def run_sweeps(options: argparse.Namespace, sweeps: Sequence[Sweep]) -> int:
        seen.extend((sweep.name, sweep.epochs, options.local) for sweep in sweeps)
        return 1

    monkeypatch.setattr(resume, "run_sweeps", run_sweeps)
    desk.write(**{name: {"method": "iprm", "datasets": ["digits"]} for name in ("a", "b")})
    results = desk.folder / "results"
    words = ["resume", "b", "a", "--local", "--results", str(results)]
    for name in ("b", "a"):
        path = results / name / "sweep.yaml"
        assert main(words) == 2
        assert capsys.readouterr().err == f"{path} is missing: {name} has not run with --results {results}; use run\n"
        path.parent.mkdir(parents=True)
        (sweep,) = load(desk.folder / "sweeps.yaml", [name], ["epochs=3"])
        path.write_text(freeze(sweep))
    assert main(words) == 1
    assert seen == [("b", 3, True), ("a", 3, True)]


def test_a_path_names_no_sweep(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", "a", "../b", "--results", str(desk.folder)]) == 2
    assert capsys.readouterr().err.startswith("'../b' names no sweep")


def test_the_named_sweeps_are_brought_from_elsewhere_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pulled: list[tuple[str, ...]] = []
    monkeypatch.setattr(MirroredStore, "pull", lambda store, *names: pulled.append(names))
    assert main(["resume", "a", "b", "--results", (desk.folder / "remote").as_uri()]) == 2
    assert pulled == [("a", "b")]
    assert "a has not run with --results file://" in capsys.readouterr().err
