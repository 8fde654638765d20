"""``--dry-run``: it names the runs to train, and estimates from earlier ones."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.command_desk import Desk
from support.small_runs import make_environment, make_epoch, make_plan

from sweep.commands.dry_run import _duration_text, print_dry_run
from sweep.commands.planned_runs import planned_runs
from sweep.runs.code_texts import code_digest
from sweep.runs.identity import run_hash
from sweep.runs.records import FinalRecord, Run
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store


def test_what_is_held_is_counted_and_what_is_missing_estimated(trained_desk: Desk) -> None:
    code, out, err = trained_desk.run("run", "s", "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["s: 0 runs to train, 8 held by results", "s: nothing to train"]
    code, out, _ = trained_desk.run("run", "s", "--dry-run", "seeds=[0,1,2]")
    assert code == 0
    assert "s: 4 runs to train, 8 held by results" in out
    assert len(re.findall(r"^  [0-9a-f]{16}  (?:iprm|aug) train.lr=\S+ on digits seed 2$", out, re.M)) == 4
    assert re.search(r"about \d+ s with \d+ at a time, \d+ MiB of disk \(from 2 method and dataset pairs", out)


# By hand -------------------------------------------------------------------------------------------------------------

GRID: dict[str, Any] = {"vary": {"alpha": {"grid": [0.1, 0.5]}}, "seeds": [0, 1], "epochs": 3}


def printed(folder: Path, end: Callable[[RunFolder, Run], None] = lambda folder, run: None, **keys: Any) -> list[str]:
    """What is printed of a sweep over the embedded digits; ``end`` leaves in the store what it knows of each run."""
    planned, store, out = make_plan(folder, **keys), Store(folder / "results"), io.StringIO()
    for each in planned_runs(planned, store):
        end(store.run(each.hash), each.run)
    print_dry_run(planned.sweep, store, Console(file=out, width=1000))
    return out.getvalue().splitlines()


def done(folder: RunFolder, run: Run, status: str = "done", seconds: float = 2.0, megabytes: int = 3) -> None:
    folder.open(run, make_environment(code=code_digest()))
    (folder.path / "weights.safetensors").write_bytes(bytes(megabytes * 2**20))
    folder.commit(FinalRecord(status=status, seconds=seconds, seconds_per_epoch=1.0))  # type: ignore[arg-type]


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of four processors."""
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


def test_every_run_is_named_where_nothing_is_held(tmp_path: Path) -> None:
    *runs, counted, estimated = printed(tmp_path, **GRID)
    hashes = [run_hash(run) for c in make_plan(tmp_path, **GRID).studies[0].configurations for run in c.runs([0, 1])]
    said = [f"iprm alpha={alpha} on digits seed {seed}" for alpha in (0.1, 0.5) for seed in (0, 1)]
    assert runs == [f"  {name}  {each}" for name, each in zip(hashes, said, strict=True)]
    assert counted == f"s: 4 runs to train, 0 held by {tmp_path / 'results'}"
    assert estimated == "s: no earlier runs here to estimate time and disk from"


def test_what_ended_is_held_and_what_failed_is_trained_again(tmp_path: Path) -> None:
    def end(folder: RunFolder, run: Run) -> None:
        if run.seed < 3:
            done(folder, run, ("done", "diverged", "failed")[run.seed])
        elif run.seed == 3:
            folder.open(run, make_environment())
            for epoch in (1, 2):
                folder.append(make_epoch(epoch))
        elif run.seed == 5:
            done(folder, run)
            (folder.path / "final.json").write_text("{")

    failed, begun, missing, damaged, told, counted, _ = printed(tmp_path, end, seeds=[*range(6)], splits=[7])
    assert failed.endswith("  iprm on digits split 7 seed 2")
    assert begun.endswith("  iprm on digits split 7 seed 3, 2 epochs done")
    assert missing.endswith("  iprm on digits split 7 seed 4")
    assert damaged.endswith("  iprm on digits split 7 seed 5")
    assert told.startswith("s: 1 run counts as not ended, as ")
    assert counted.startswith("s: 4 runs to train, 2 held by ")


def test_time_is_estimated_from_runs_of_the_same_method_and_disk_from_all(tmp_path: Path, four: None) -> None:
    def end(folder: RunFolder, run: Run) -> None:
        if run.seed == 0:
            done(folder, run, seconds={"iprm": 300.0, "joint": 60.0}[run.method])

    keys = {**GRID, "method": None, "methods": ["iprm", "joint"], "vary": None, "resources": {"workers": 2}}
    # Two runs of 300 s and 60 s, two at a time, whatever the number of epochs that a method makes of its budget of 3.
    last = printed(tmp_path, end, **keys)[-1]
    assert last == "s: about 3 min with 2 at a time, 6 MiB of disk (from 2 method and dataset pairs measured here)"
    # Of a method that was never trained here, the mean of those that were; of searched ones, too.
    keys = {**GRID, "method": "mla", "vary": {"train.lr": {"uniform": [0.01, 0.1]}}, "report_seeds": [7]}
    keys["search"] = {"algorithm": "random", "configurations": 3}
    *_, counted, last = printed(tmp_path, **keys, resources={"cpus": 8})
    assert counted.endswith("; at most 6 of searched configurations; 1 under report seeds")
    # (6 + 1) runs of a budget of 3 epochs, of 60 s each
    assert last == "s: about 21 min with 1 at a time, 21 MiB of disk (from 2 method and dataset pairs measured here)"


def test_only_runs_that_were_trained_to_their_end_say_how_fast_training_is(tmp_path: Path) -> None:
    def end(folder: RunFolder, run: Run) -> None:
        if run.seed == 0:
            done(folder, run, "failed")

    assert printed(tmp_path, end, **GRID)[-1] == "s: no earlier runs here to estimate time and disk from"


def test_runs_of_earlier_code_are_told(tmp_path: Path) -> None:
    def end(folder: RunFolder, run: Run) -> None:
        done(folder, run)
        if run.seed == 0:
            (folder.path / "environment.json").write_text(make_environment(code="before").model_dump_json())

    earlier, counted, estimated = printed(tmp_path, end, seeds=[0, 1])
    assert earlier == (
        "s: 1 of the runs held are of earlier code: since then code of an unknown folder changed; --force trains them "
        "again"
    )
    assert counted.startswith("s: 0 runs to train, 2 held by ")
    assert estimated == "s: nothing to train"


def test_configurations_that_their_method_refuses_are_named(tmp_path: Path) -> None:
    keys = {"method": "unimodal", "vary": {"modality": {"grid": ["left", "x"]}}, "not_applicable": "skip", "seeds": [0]}
    _, refused, counted, _ = printed(tmp_path, **keys)
    said = "unimodal modality=x on digits: unimodal: no modality called 'x'; there are: left, profile"
    assert refused == f"  N/A               {said}"
    assert counted.endswith("; 1 N/A")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5340, "89 min"), (5400, "1.5 h"), (36000, "10.0 h")],
)
def test_a_duration_is_told_in_a_unit_of_its_size(seconds: float, said: str) -> None:
    assert _duration_text(seconds) == said
