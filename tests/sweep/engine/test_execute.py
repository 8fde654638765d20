"""What a results folder goes through: killed drivers on storage, drivers side by side, files lost or in the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.command_desk import Desk, kill

from sweep.config import load
from sweep.engine.execute import Execution, execute
from sweep.engine.on_ray.session import RaySession
from sweep.engine.tasks import Tally
from sweep.runs import environment
from sweep.runs.environment import ChangedCodeError
from sweep.runs.index import Index
from sweep.runs.records import IndexEntry

SWEEP: dict[str, Any] = {
    "method": "joint",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"train.lr": {"grid": [0.02, 0.05]}},
    "seeds": [0, 1],
    "epochs": 3,
    "references": False,
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_sweep_on_a_uri_is_killed_and_resumed_on_another_machine(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write(s=SWEEP | {"epochs": 6})
    words = ["s", "--local", "--results", (desk.folder / "remote").as_uri()]
    monkeypatch.setenv("SWEEP_MIRROR", str(desk.folder / "one"))
    process = desk.start("run", *words, "--no-report")
    desk.wait_for(1, process, "remote")
    kill(process)
    before = {path: path.stat().st_mtime_ns for path in desk.finished("remote")}
    assert 1 <= len(before) < 4
    monkeypatch.setenv("SWEEP_MIRROR", str(desk.folder / "other"))
    code, out, err = desk.run("resume", *words)
    assert (code, err) == (0, "")
    assert f"{len(before)} kept from earlier" in out
    assert before.items() <= {path: path.stat().st_mtime_ns for path in desk.finished("remote")}.items()
    assert (desk.folder / "remote/s/report/index.html").exists()
    assert not list((desk.folder / "remote").glob("runs/*/checkpoint.pt"))
    assert not list((desk.folder / "remote").glob("**/*.partial"))
    # As an uninterrupted sweep in a folder, read through the mirror or not.
    desk.write(s=SWEEP | {"epochs": 6})
    assert run(desk, "whole").done == 4
    assert desk.table(results="remote") == desk.table(results="whole")


def test_two_drivers_share_the_runs_that_both_name(desk: Desk) -> None:
    desk.write(s=SWEEP, t=SWEEP)
    drivers = [desk.start("run", name, "--local", "--no-report") for name in ("s", "t")]
    said = [driver.communicate(timeout=500)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0]
    kept = [int(out.rpartition(" kept from earlier")[0].rpartition(" ")[2]) if "kept" in out else 0 for out in said]
    assert sum(kept) == 4
    starts = [path.read_text().count("started") for path in desk.folder.glob("results/runs/*/attempts.jsonl")]
    assert starts == [1] * 4
    assert [row["hash"] for row in desk.table("s")] == [row["hash"] for row in desk.table("t")]


def test_a_results_path_that_is_a_file_is_refused(desk: Desk) -> None:
    desk.write(s=SWEEP)
    (desk.folder / "results").write_text("")
    code, _, err = desk.run("run", "s", "--local")
    assert code == 1
    assert "a file stands where a folder is needed; choose another --results" in err
    assert "Traceback" not in err


def run(desk: Desk, results: str = "results") -> Tally:
    """The sweep, in this process."""
    (sweep,) = load(desk.folder / "sweeps.yaml", ["s"], [])
    return execute(sweep, desk.folder / results, Execution(local=True), RaySession(), Console(quiet=True))


@pytest.mark.parametrize("lost", ["results/s/index.jsonl", "results/s"])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {
            "vary": {"train.lr": {"loguniform": [0.01, 0.1]}},
            "search": {"algorithm": "tpe", "configurations": 3},
            "seeds": [0],
        },
    ],
    ids=["grid", "search"],
)
def test_a_lost_folder_of_a_sweep_is_rebuilt_without_training(desk: Desk, keys: dict[str, Any], lost: str) -> None:
    desk.write(s=SWEEP | {"epochs": 1} | keys)
    first = run(desk)
    table = desk.table()
    path = desk.folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = run(desk)
    assert (again.done, again.kept) == (first.done, first.done)
    assert desk.table() == table


def test_damaged_runs_are_trained_again_and_the_others_kept(desk: Desk) -> None:
    desk.write(s=SWEEP | {"epochs": 1})
    run(desk)
    table, finals = desk.table(), desk.finished()
    finals[0].write_bytes(b"")
    (finals[1].parent / "config.json").write_bytes(b"")
    (finals[2].parent / "test.json").write_bytes(b"")
    index = desk.folder / "results/s/index.jsonl"
    index.write_text(index.read_text()[:-30])
    again = run(desk)
    assert (again.done, again.kept) == (4, 1)
    assert desk.table() == table


def test_an_index_with_torn_lines_is_repaired_when_it_is_opened(tmp_path: Path) -> None:
    fields = {"method": "joint", "label": "joint", "dataset": "digits", "role": "sweep", "configuration": "c"}
    entries = [IndexEntry(hash=f"{number}", values={}, seed=number, **fields) for number in range(3)]
    path = tmp_path / "index.jsonl"
    lines = [entry.model_dump_json() for entry in entries]
    path.write_text(f"{lines[0]}\n{lines[1][:20]}\n\0\0\n{lines[2][:30]}")
    index = Index(path)
    assert path.read_text() == lines[0] + "\n"
    for entry in entries[:2]:
        index.add(entry)
    assert path.read_text() == "".join(line + "\n" for line in lines[:2])
    index.add(entries[2])
    index.close()
    assert [json.loads(line)["hash"] for line in path.read_text().splitlines()] == ["0", "1", "2"]


def test_code_that_was_rewritten_before_training_trains_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write(s=SWEEP)
    monkeypatch.setattr(environment, "_checked", {})
    monkeypatch.setattr(environment, "read_code_digest", lambda: "rewritten")
    with pytest.raises(ChangedCodeError, match="was rewritten after the sweep was planned"):
        run(desk, "results")
    assert desk.finished() == []
