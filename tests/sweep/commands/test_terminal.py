"""The words that commands share: names, overrides, settings."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

import methods
from sweep.commands.terminal import (
    check_sweep_names,
    named_sweeps,
    names_and_overrides,
    print_refusals,
    pull_sweep,
    settings,
)
from sweep.config import ConfigError
from sweep.runs.store import Store


def test_names_are_words_without_an_equals_sign() -> None:
    assert names_and_overrides(["a", "epochs=3", "b", "x=y=z"]) == (["a", "b"], ["epochs=3", "x=y=z"])


def test_settings_are_read_as_yaml() -> None:
    assert settings(["root=a/b", "data.size=3", "flags=[1, 2]", "empty="]) == {
        "root": "a/b", "size": 3, "flags": [1, 2], "empty": None,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="'root' is no key=value"):
        settings(["root"])


def test_names_that_cannot_be_used_are_told_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_refusals(methods.METHODS)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(methods.METHODS, "refusals", lambda: ["a is torn", "b is there twice"])
    print_refusals(methods.METHODS, methods.METHODS)
    assert capsys.readouterr().out.splitlines() == ["a is torn", "b is there twice"] * 2


def test_sweeps_are_loaded_with_what_is_overridden(tmp_path: Path) -> None:
    file = tmp_path / "sweeps.yaml"
    file.write_text("sweeps: {a: {method: iprm, datasets: [digits]}, b: {method: iprm, datasets: [digits]}}")
    found = named_sweeps(argparse.Namespace(file=file, names=["b", "epochs=3"]))
    assert [(sweep.name, sweep.epochs) for sweep in found] == [("b", 3)]


@pytest.mark.parametrize("name", ["a/b", "..", "", "results/a"])
def test_a_path_names_no_sweep(tmp_path: Path, name: str) -> None:
    for refused in (lambda: check_sweep_names(["a", name]), lambda: pull_sweep(Store(tmp_path), name)):
        with pytest.raises(ConfigError) as told:
            refused()
        assert str(told.value) == f"{name!r} names no sweep: give the name that it has in its file, not a path"
    check_sweep_names(["a", "b-1"])


def test_a_sweep_that_has_not_run_is_told_with_those_that_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"{tmp_path}/alpha holds no runs: run the sweep first, or give its --results"
    with pytest.raises(ConfigError) as told:
        pull_sweep(Store(tmp_path), "alpha")
    assert str(told.value) == said
    for name in ("beta", "alpa"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.jsonl").touch()
    (tmp_path / "gamma").mkdir()
    with pytest.raises(ConfigError) as told:
        pull_sweep(Store(tmp_path), "alpha")
    assert str(told.value) == f"{said}; did you mean alpa?"
    with pytest.raises(ConfigError, match=r"there are: alpa, beta$"):
        pull_sweep(Store(tmp_path), "gamma")
    asked = []
    monkeypatch.setattr(Store, "pull", lambda self, *names, events=False: asked.append((names, events)))
    for events in (False, True):
        assert pull_sweep(Store(tmp_path), "beta", events=events) == tmp_path / "beta"
    assert pull_sweep(Store(tmp_path), "beta") == tmp_path / "beta"
    assert asked == [(("beta",), False), (("beta",), True), (("beta",), False)]


def test_a_mistake_in_a_setting_is_told_with_the_word() -> None:
    with pytest.raises(ConfigError, match=r"^command line: data\.size=\[: this is not YAML"):
        settings(["data.size=["])
