"""A run prepares the data that it needs."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from support.binary_files_dataset import write_pictures
from support.command_desk import Desk

from data.base import DataError
from data.manifest import Manifest, ManifestOptions
from data.prepared.cache.preparation import Preparation
from sweep.config import load
from sweep.engine import prepare, process_watch
from sweep.engine.execute import Execution, execute
from sweep.engine.on_ray.session import RaySession
from sweep.engine.process_watch import ClusterWatch, LostClusterError
from sweep.engine.tally import Tally
from sweep.plan.build import plan

PHOTO = {"photo": {"kind": "image", "size": 16, "crop_scale": None}}


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    monkeypatch.setattr(prepare, "processors", lambda: 1)
    return tmp_path / "caches"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "set")


def work(file: Path) -> Preparation:
    return Manifest.preparation(ManifestOptions.model_validate({"root": str(file), "modalities": PHOTO}))


class Ray:
    """A session whose cluster is gone."""

    ensured = False

    def ensure(self) -> None:
        self.ensured = True

    def watch(self, stuck: object) -> ClusterWatch:
        return ClusterWatch([lambda: "its raylet"], pytest.fail)


def test_a_cluster_that_is_gone_is_told_where_ray_would_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setattr(process_watch, "EVERY", 0.001)
    waits = SimpleNamespace(prepare_nodes=lambda work, display: threading.Event().wait())
    monkeypatch.setitem(sys.modules, "sweep.engine.on_ray.prepare", waits)
    with pytest.raises(LostClusterError, match="its raylet"):
        prepare.prepare(work(file), False, Ray(), Console(quiet=True))  # type: ignore[arg-type]


def test_what_was_prepared_is_returned_from_here_and_from_the_nodes_of_a_cluster(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    asked = list[tuple[object, bool]]()

    class Started(Ray):
        def watch(self, stuck: Any) -> ClusterWatch:
            stuck("its raylet is gone")
            return ClusterWatch([], pytest.fail)

    def prepared(work: Preparation, *how: object) -> str:
        asked.append((work, ray.ensured))
        return "prepared"

    monkeypatch.setattr(prepare, "prepare_here", prepared)
    monkeypatch.setitem(sys.modules, "sweep.engine.on_ray.prepare", SimpleNamespace(prepare_nodes=prepared))
    ray, out, media = Started(), io.StringIO(), work(file)
    console = Console(file=out, width=200)
    for local in (True, False):
        assert prepare.prepare(media, local, ray, console) == "prepared"  # type: ignore[arg-type,comparison-overlap]
    assert asked == [(media, False), (media, True)]
    assert out.getvalue() == "manifest (own): its raylet is gone; run the same command again to go on\n"


def sweep(file: Path) -> dict[str, Any]:
    return {
        "method": "unimodal",
        "hyperparameters": {"modality": "photo"},
        "datasets": ["manifest"],
        "data": {"manifest": {"root": str(file), "modalities": PHOTO}},
        "encoders": {"photo": {"name": "cnn", "width": 2}},
        "train": {"batch_size": 4},
        "seeds": [0],
        "epochs": 1,
        "references": False,
    }


def test_a_run_prepares_what_it_needs_and_refuses_what_cannot_be_used(tmp_path: Path, file: Path) -> None:
    desk, out = Desk(tmp_path), io.StringIO()
    desk.write(s=sweep(file))
    (found,) = load(tmp_path / "sweeps.yaml", ["s"], [])

    def run() -> Tally:
        return execute(found, tmp_path / "results", Execution(local=True), RaySession(), Console(file=out, width=160))

    picture = (file.parent / "3.png").read_bytes()
    (file.parent / "3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="1 of 20 samples cannot be used"):
        run()
    assert desk.finished() == []
    (file.parent / "3.png").write_bytes(picture)
    assert run().done == 1
    assert out.getvalue().count("manifest (own): preparing") == 2
    assert work(file).folder.meta() is not None
    run()
    assert out.getvalue().count("preparing") == 2


SEARCH = {"vary": {"train.lr": {"uniform": [1e-4, 1.0]}}, "search": {"algorithm": "random", "configurations": 3}}


@pytest.mark.parametrize(
    ("keys", "prepared"),
    [
        ({}, 1),
        ({"vary": {"train.lr": {"grid": [0.1, 0.2]}}}, 1),
        ({"vary": {"data.manifest.modalities": {"grid": [PHOTO, {"photo": PHOTO["photo"] | {"size": 8}}]}}}, 2),
        (SEARCH, 1),
        ({"datasets": ["digits"], "data": {}, "hyperparameters": {"modality": "left"}, "encoders": {}}, 0),
    ],
)
def test_what_a_plan_needs_is_prepared_once_also_for_a_search(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], prepared: int
) -> None:
    Desk(tmp_path).write(s=sweep(file) | keys)
    asked = list[Preparation]()
    monkeypatch.setattr(prepare, "prepare", lambda work, *where: asked.append(work))
    planned = plan(load(tmp_path / "sweeps.yaml", ["s"], [])[0])
    prepare.prepare_datasets(planned, True, RaySession(), Console(quiet=True))
    assert len({str(each.folder) for each in asked}) == len(asked) == prepared
