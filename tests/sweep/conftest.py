"""A sweep that was trained once, for the tests of what comes after training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.command_desk import Desk
from support.synthetic_results import pareto_search

from sweep.analysis.completeness import raced_out_seeds, read_request
from sweep.analysis.fronts import Front, pareto_fronts
from sweep.analysis.parts import Parts
from sweep.results.tables import load
from sweep.runs.store import Store

SWEEP: dict[str, Any] = {
    "methods": ["iprm", {"method": "aug", "hyperparameters": {"assign_every": 1, "dead_zone": 0.0}}],
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"train.lr": {"grid": [0.001, 0.05]}},
    "seeds": [0, 1],
    "epochs": 3,
    "references": False,
}


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    desk = Desk(tmp_path_factory.mktemp("trained"))
    desk.write(s=SWEEP)
    code, _, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (0, "")
    return desk.folder


@pytest.fixture
def trained_desk(_trained_once: Path, tmp_path: Path) -> Desk:
    """A folder of its own in which the sweep ``s`` has run."""
    return Desk(shutil.copytree(_trained_once, tmp_path / "desk"))


@pytest.fixture
def store(trained_desk: Desk) -> Store:
    """Its results, to be changed."""
    return Store(trained_desk.folder / "results")


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a report draw one figure, and in one format, where its text is looked at: all take ten processor seconds."""
    # By their names: most tests do without Matplotlib.
    monkeypatch.setattr("sweep.report.figures.gallery.MOST_FIGURES", 1)
    monkeypatch.setattr("sweep.report.figures.gallery.FORMATS", ("png",))


@pytest.fixture(scope="module")
def pareto_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with two objectives, some of whose configurations have fewer seeds."""
    path = tmp_path_factory.mktemp("results")
    pareto_search(path)
    return path / "two"


@pytest.fixture(scope="module")
def pareto_parts(pareto_folder: Path) -> Parts:
    """Its rows."""
    return Parts(load(pareto_folder))


@pytest.fixture(scope="module")
def pareto_front(pareto_folder: Path, pareto_parts: Parts) -> Front:
    """Its one front."""
    wanted = read_request(pareto_folder)
    assert wanted.objectives == ("accuracy", "imbalance")
    (found,) = pareto_fronts(pareto_parts, wanted.objectives, wanted.seeds, raced_out_seeds(pareto_folder))
    return found
