"""Fixtures for sweeps.yaml files in a folder of their own, over the fake methods and datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.config import Sweep, load
from sweep.plan.build import plan
from sweep.plan.configurations import Plan

pytest_plugins = ["support.fake_declarations"]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fakes: None) -> Callable[..., str]:
    """Writes a text to a file of the current folder, and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "sweeps.yaml") -> str:
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def one(write: Callable[..., str]) -> Callable[..., Sweep]:
    """Loads the first sweep of a text."""

    def one(text: str, *overrides: str) -> Sweep:
        return load(write(text), None, list(overrides))[0]

    return one


@pytest.fixture
def made(one: Callable[..., Sweep]) -> Callable[..., Plan]:
    """Plans a sweep, given by what stands between its braces."""

    def made(body: str, *overrides: str) -> Plan:
        return plan(one(f"sweeps:\n  a: {{{body}}}\n", *overrides))

    return made


@pytest.fixture
def conditional(monkeypatch: pytest.MonkeyPatch, fakes: None) -> None:
    """Gives the mixer a number that only flat mixing uses, and one that only a large such number brings about."""
    from support import fake_declarations

    from methods.base.hyperparameters import Choice, Integer, Uniform, hyper

    class Hyperparameters(fake_declarations.Mixer.Hyperparameters):
        slope: float = hyper(1.0, low=0.0, search=Uniform(0.5, 2.0), only_if=("kind", "flat"), meaning="slope")
        smooth: bool = hyper(False, search=Choice((False, True)), only_if=("kind", "flat"), meaning="smooth it")
        width: int = hyper(2, low=1, search=Integer(1, 9), only_if=("smooth", True), meaning="of the smoothing")

    monkeypatch.setattr(fake_declarations.Mixer, "Hyperparameters", Hyperparameters)
