"""``python -m sweep clean``: it frees what no number needs, and leaves what is trained now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from support.command_desk import Desk
from support.synthetic_results import Results

from sweep.commands import clean
from sweep.commands.clean import remove, waste
from sweep.commands.main import main
from sweep.results.tables import load
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store
from sweep.storage.files import StoreError


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


# By hand -------------------------------------------------------------------------------------------------------------

KEPT = "sweeps: {one: {method: iprm, datasets: [digits], keep: %s}}\n"


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A sweep of two configurations under two seeds, the second one better, with weights of ten bytes each, and a run
    of each under a report seed."""
    found = Results(tmp_path / "results")
    found.sweep("one", KEPT % "best")
    for alpha in (0.1, 0.5):
        for seed in (0, 1):
            weigh(
                found.run("one", "iprm", seed, {"multi": alpha, "left": 0.5, "profile": 0.5}, values={"alpha": alpha})
            )
        weigh(found.run("one", "iprm", 7, values={"alpha": alpha}, role="report"))
    return found


def weigh(folder: Path, name: str = "weights.safetensors", size: int = 10) -> Path:
    (folder / name).write_bytes(bytes(size))
    return folder


def going(results: Results, **options: Any) -> list[tuple[int, str, int]]:
    """Number of the run, reason and bytes of each file or folder that may go."""
    runs = results.path / "runs"
    return [
        (int(each.path.relative_to(runs).parts[0]), each.why, each.bytes)
        for each in waste(Store(results.path), **options)
    ]


def unkept(*numbers: int) -> list[tuple[int, str, int]]:
    return [(number, "weights that no sweep keeps", 10) for number in numbers]


def test_the_best_of_each_study_and_what_has_a_report_seed_keep_their_weights(results: Results) -> None:
    # Runs 1 and 2 are of alpha 0.1, 3 is its report run, 4 and 5 are of alpha 0.5, 6 is its report run.
    assert going(results) == going(results, keep="best") == unkept(1, 2)
    other = Results(results.path, dataset="mfeat")
    other._made = results._made
    weigh(other.run("one", "iprm", 0, values={"alpha": 0.1}))
    weigh(other.run("one", "aug", 0, values={"alpha": 0.1}))
    assert going(results) == unkept(1, 2)
    assert going(results, keep="none") == unkept(1, 2, 3, 4, 5, 6, 7, 8)
    assert going(results, keep="all") == []


@pytest.mark.parametrize(("keep", "expected"), [("none", [1, 2, 3, 4, 5, 6]), ("best", [1, 2]), ("all", [])])
def test_a_sweep_says_which_weights_stay(results: Results, keep: str, expected: list[int]) -> None:
    results.sweep("one", KEPT % keep)
    assert going(results) == unkept(*expected)


def test_a_sweep_that_cannot_be_read_keeps_all_and_says_so(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    results.sweep("one", "sweeps: {one: {methodd: iprm}}\n")
    assert going(results) == []
    frozen = results.path / "one" / "sweep.yaml"
    assert capsys.readouterr().out.startswith(f"{frozen} cannot be read, so all weights of that sweep are kept: ")
    frozen.unlink()
    assert going(results) == []
    assert capsys.readouterr().out == ""


def test_whole_runs_go_where_no_sweep_names_them(results: Results) -> None:
    index = results.path / "one" / "index.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(lines[1:]))
    first = results.path / "runs" / f"{1:012d}"
    size = sum(path.stat().st_size for path in first.iterdir())
    assert going(results, orphans=True)[0] == (1, "runs of no sweep", size)
    assert (1, "runs of no sweep", size) not in going(results)
    index.write_text("".join(lines[1:]) + '{"hash": "0000000')
    with pytest.raises(StoreError, match="is damaged and may name more runs than can be read: run one again first"):
        going(results, orphans=True)
    assert going(results, keep="all") == unkept(1)


def test_whole_runs_of_earlier_code_go_where_that_is_asked_for(results: Results) -> None:
    """What the synthetic runs say of their code is not today's."""
    assert [(number, why) for number, why, _ in going(results, stale=True)] == [
        (number, "runs of earlier code") for number in range(1, 7)
    ]


def test_what_an_interruption_left_goes_and_what_is_no_run_stays(results: Results) -> None:
    runs = results.path / "runs"
    (runs / "my-notes").mkdir()
    weigh(runs / "my-notes")
    weigh(runs, "0" * 16)
    (runs / ("1" * 16)).symlink_to(runs / f"{1:012d}")
    failed = weigh(results.run("one", "iprm", 2, values={"alpha": 0.5}, status="failed"), "checkpoint.pt", 5)
    weigh(failed, ".final.json.1.partial", 3)
    weigh(failed, "checkpoint.unreadable", 4)
    running = weigh(results.run("one", "iprm", 3, values={"alpha": 0.5}, status="running"), "checkpoint.pt", 5)
    pruned = weigh(results.run("one", "iprm", 4, values={"alpha": 0.5}, status="pruned"), "checkpoint.pt", 6)
    assert (int(failed.name), int(running.name), int(pruned.name)) == (7, 8, 9)
    assert going(results, keep="all") == [
        (7, "writes that were interrupted", 3),
        (7, "checkpoints that cannot be read", 4),
        (9, "checkpoints of runs that have ended", 6),
    ]
    # Runs that no sweep names are runs all the same, and nothing else is.
    (results.path / "one" / "index.jsonl").unlink()
    assert [number for number, _, _ in going(results, orphans=True)] == list(range(1, 10))


def test_the_command_counts_what_goes_by_reason_and_leaves_what_is_trained_now(
    results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    weigh(results.path / "runs" / f"{1:012d}", size=3 * 2**20)
    weigh(results.path / "runs" / f"{2:012d}", size=2**19)
    weigh(results.path / "runs" / f"{3:012d}", "checkpoint.pt", 2**20)
    words = ["clean", "--results", str(results.path)]
    lines = ["2 weights that no sweep keeps: 3.5 MiB", "1 checkpoints of runs that have ended: 1.0 MiB"]
    assert main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [*lines, "4.5 MiB would be freed"]
    claim = Store(results.path).claim(f"{1:012d}")
    assert claim is not None
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 weights that no sweep keeps: 0.5 MiB",
        lines[1],
        "1.5 MiB freed",
        "1 files of runs that are being trained now were left",
    ]
    claim.release()
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == ["1 weights that no sweep keeps: 3.0 MiB", "3.0 MiB freed"]
    # Each was released again.
    for number in (1, 2, 3):
        claim = Store(results.path).claim(f"{number:012d}")
        assert claim is not None
        claim.release()
