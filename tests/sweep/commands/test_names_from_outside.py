"""Names from the command line make nothing and lead nowhere, and ``clean`` deletes only what is of the results."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.small_runs import make_environment, make_run
from support.synthetic_results import Results

from sweep.commands.clean import remove, waste
from sweep.commands.main import main
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store
from sweep.storage.files import StoreError


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "above" / "desk"
    folder.mkdir(parents=True)
    results = Results(folder / "results")
    results.sweep("one")
    results.run("one", "joint", 0)
    # What a path would lead to.
    (folder.parent / "x").mkdir()
    (folder.parent / "x" / "index.jsonl").write_text("")
    (folder.parent / "x" / "sweep.yaml").write_text("sweeps: {x: {}}")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("command", ["export", "report", "resume", "dashboard", "replay"])
@pytest.mark.parametrize("name", ["../..", "../x", "x/../../..", "/etc", ".", "..", ".store", "runs", "oen", "one/"])
def test_a_name_that_is_no_sweep_makes_nothing_and_is_a_mistake(
    desk: Path, command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = everything(desk.parents[1])
    assert main([command, name]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert everything(desk.parents[1]) == before
    if name == "oen" and command not in ("replay", "resume"):
        assert "did you mean one?" in said


def test_the_store_makes_no_folder_outside_the_results(tmp_path: Path) -> None:
    for name in ("../x", "/tmp/x", "..", ""):
        with pytest.raises(StoreError, match="names no sweep"):
            Store(tmp_path / "results").sweep(name)
    assert everything(tmp_path) == set()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    folder = store.run("0" * 16)
    folder.open(make_run(), make_environment())
    folder.commit(FinalRecord(status="done"))
    (folder.path / "weights.safetensors").write_bytes(b"x")
    return store


def test_clean_follows_no_link_and_survives_stray_files(store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("weights.safetensors", "checkpoint.unreadable", ".a.partial"):
        (mine / name).write_text("mine")
    before = everything(mine)
    runs = store.results / "runs"
    (runs / ("1" * 16)).symlink_to(mine)
    (runs / "gone").symlink_to(tmp_path / "nowhere")
    (runs / ".DS_Store").write_text("")
    (runs / "note.txt").write_text("")
    (store.results / ".DS_Store").write_text("")
    found = list(waste(store, orphans=True, stale=True))
    assert [each.path.name for each in found] == ["0" * 16]
    assert remove(store, found) == (found, 0)
    assert everything(mine) == before
    assert not (runs / ("0" * 16)).exists()


def test_clean_keeps_all_weights_of_a_sweep_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    (results.run("one", "joint", 0) / "weights.safetensors").write_bytes(b"x")
    (tmp_path / "one" / "sweep.yaml").write_text("sweeps: {")
    assert list(waste(Store(tmp_path))) == []
    assert "sweep.yaml cannot be read, so all weights of that sweep are kept" in capsys.readouterr().out


def test_clean_takes_no_run_for_an_orphan_where_an_index_is_damaged(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "joint", 0)
    index = tmp_path / "one" / "index.jsonl"
    assert list(waste(Store(tmp_path), orphans=True)) == []
    index.write_text(index.read_text()[:-20])
    with pytest.raises(StoreError, match=r"index\.jsonl is damaged .* run one again first"):
        list(waste(Store(tmp_path), orphans=True))
    shutil.rmtree(tmp_path / "one")
    assert len(list(waste(Store(tmp_path), orphans=True))) == 1
