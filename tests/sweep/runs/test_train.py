"""One run in its folder: checkpoints, and going on from them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console

import sweep.engine.local
import sweep.runs.train
from sweep.config import load
from sweep.engine.execute import Execution, execute
from sweep.engine.on_ray.session import RaySession
from sweep.plan.build import plan
from sweep.runs.records import Run
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.runs.train import train

EPOCHS = 5


@pytest.fixture
def run(tmp_path: Path) -> Run:
    file = tmp_path / "sweeps.yaml"
    sweep = {"method": "joint", "datasets": ["digits"], "data": {"digits": {"train_samples": 100}}, "epochs": EPOCHS}
    file.write_text(yaml.safe_dump({"sweeps": {"s": sweep | {"seeds": [0], "references": False}}}))
    (study,) = plan(load(file, ["s"], [])[0]).studies
    (configuration,) = study.configurations
    (found,) = configuration.runs([0])
    return found


def folder(tmp_path: Path, name: str) -> RunFolder:
    return Store(tmp_path / "results").run(name)


def interrupted(run: Run, folder: RunFolder, after: int, **options: Any) -> None:
    """Train some epochs, as if the process died after them."""
    epochs = train(run, folder, **options)
    assert [next(epochs).epoch for _ in range(after)] == list(range(1, after + 1))
    epochs.close()


def saved_epoch(folder: RunFolder) -> int | None:
    state = folder.load_checkpoint()
    return state and state["training"]["progress"]["epoch"]


@pytest.mark.parametrize(("checkpoint_every", "saved"), [(0.0, 3), (3600.0, None)])
def test_what_is_trained_again_does_not_show(
    run: Run, tmp_path: Path, checkpoint_every: float, saved: int | None
) -> None:
    whole, killed = folder(tmp_path, "whole"), folder(tmp_path, "killed")
    assert len(list(train(run, whole))) == EPOCHS
    interrupted(run, killed, 3, checkpoint_every=checkpoint_every)
    assert saved_epoch(killed) == saved
    again = [record.epoch for record in train(run, killed)]
    assert again == list(range(1 + (saved or 0), EPOCHS + 1))
    assert [(r.epoch, r.loss, r.metrics) for r in killed.epochs()] == [
        (r.epoch, r.loss, r.metrics) for r in whole.epochs()
    ]
    ends = [f.final() for f in (whole, killed)]
    assert all(end is not None and end.status == "done" for end in ends)
    assert len({end.model_dump_json(include={"metrics", "selected_epoch"}) for end in ends if end}) == 1
    assert (killed.path / "log.txt").exists() == (saved is None)


def test_a_checkpoint_is_saved_once_the_last_one_is_old_enough(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(sweep.runs.train, "time", SimpleNamespace(monotonic=lambda: now))
    trained, found = folder(tmp_path, "timed"), list[int | None]()
    epochs = train(run, trained, checkpoint_every=1.0)
    for _ in range(EPOCHS):
        found.append(next(epochs) and saved_epoch(trained))
        now += 0.6
    # An epoch takes 0.6 s here, and the clock is read at its end.
    assert found == [None, None, 3, 3, 5]


def test_a_sweep_says_how_old_a_checkpoint_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def noting(run: Run, folder: RunFolder, **options: Any) -> Any:
        asked.append(options["checkpoint_every"])
        return train(run, folder, **options)

    monkeypatch.setattr(sweep.engine.local, "train", noting)
    file = tmp_path / "sweeps.yaml"
    common = {"method": "joint", "datasets": ["digits"], "data": {"digits": {"train_samples": 100}}, "epochs": 1}
    common |= {"seeds": [0], "references": False}
    file.write_text(yaml.safe_dump({"sweeps": {"s": common, "t": common | {"checkpoint_every": "2m", "seeds": [1]}}}))
    for swept in load(file, ["s", "t"], []):
        execute(swept, Store(tmp_path / "results"), Execution(local=True), RaySession(), Console(quiet=True))
    assert asked == [1.0, 120.0]
