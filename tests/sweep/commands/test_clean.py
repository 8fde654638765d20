"""``python -m sweep clean``: it frees what no number needs, and leaves what is trained now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.command_desk import Desk

from sweep.commands import clean
from sweep.commands.clean import remove, waste
from sweep.commands.main import main
from sweep.results.tables import load
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store


def test_clean_frees_what_no_number_needs_and_leaves_what_is_trained_now(store: Store) -> None:
    assert list(waste(store)) == []
    runs = sorted(path.name for path in store.results.glob("runs/*") if not (path / "weights.safetensors").exists())
    failed, ended, orphan = store.run(runs[0]), store.run(runs[1]), store.run("0" * 16)
    for folder in (failed, ended):
        (folder.path / "checkpoint.pt").write_bytes(b"x" * 100)
    (failed.path / "final.json").write_text(FinalRecord(status="failed", reason="r").model_dump_json())
    orphan.path.mkdir()
    (orphan.path / "final.json").write_text(FinalRecord(status="done").model_dump_json())

    found = list(waste(store))
    assert [(each.path, each.bytes) for each in found] == [(ended.path / "checkpoint.pt", 100)]
    claim = store.claim(ended.path.name)
    assert claim is not None
    # Another process would hold it; within one process a second lock object is enough.
    assert remove(Store(store.results), found) == ([], 1)
    claim.release()
    assert remove(store, found) == (found, 0)
    assert not (ended.path / "checkpoint.pt").exists()
    assert (failed.path / "checkpoint.pt").exists()

    assert [each.path for each in waste(store, orphans=True)] == [orphan.path]
    remove(store, list(waste(store, orphans=True)))
    assert not orphan.path.exists()
    remove(store, list(waste(store, keep="none")))
    assert list(store.results.glob("runs/*/weights.safetensors")) == []
    assert len(load(store.results / "s")) == 8


def test_a_dry_run_says_what_would_go_and_deletes_nothing(trained_desk: Desk) -> None:
    weights = sorted(trained_desk.folder.glob("results/runs/*/weights.safetensors"))
    code, out, err = trained_desk.run("clean", "--keep", "none", "--dry-run")
    assert (code, err) == (0, "")
    assert f"{len(weights)} weights that no sweep keeps: " in out
    assert "would be freed" in out
    assert sorted(trained_desk.folder.glob("results/runs/*/weights.safetensors")) == weights
    code, out, _ = trained_desk.run("clean", "--keep", "none")
    assert code == 0
    assert "MiB freed" in out
    assert list(trained_desk.folder.glob("results/runs/*/weights.safetensors")) == []


def test_a_bucket_is_not_cleaned(trained_desk: Desk) -> None:
    code, _, err = trained_desk.run("clean", "--results", "s3://bucket/x")
    assert code == 1
    assert "clean works on folders" in err


@pytest.mark.parametrize("word", ["--stal", "--orphan", "--dry"])
def test_half_an_option_is_none(store: Store, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(store.results.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        main(["clean", "--results", str(store.results), word])
    assert ended.value.code == 2
    assert f"unrecognized arguments: {word}" in capsys.readouterr().err
    assert sorted(store.results.rglob("*")) == before


def test_results_that_cannot_be_read_hold_not_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    assert main(["clean", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(
        f"cannot read {tmp_path}: Permission denied; its owner can let others read"
    )
    monkeypatch.setattr(clean, "run_command", refuse)
    assert main(["clean", "--results", "x"]) == 1
    assert "Permission denied" in capsys.readouterr().err
