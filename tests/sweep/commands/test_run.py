"""``python -m sweep run``: inside a Ray job paths must lead out of its working folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_desk import Desk

from sweep.commands import report
from sweep.commands import run as run_command
from sweep.commands.main import main
from sweep.commands.run import check_paths
from sweep.config import ConfigError, Sweep, load
from sweep.engine import execute as execute_module
from sweep.engine import interrupts
from sweep.engine.execute import Execution
from sweep.engine.tally import Tally
from sweep.storage.files import LockedError, StoreError


@pytest.fixture
def sweeps(desk: Desk) -> list[Sweep]:
    desk.write(s={"method": "iprm", "datasets": ["av_digits"], "data": {"av_digits": {"root": "fsdd"}}, "epochs": 1})
    return load(desk.folder / "sweeps.yaml", None, [])


def test_outside_a_job_paths_may_be_relative(sweeps: list[Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_JOB_ID", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    check_paths(sweeps, "results")


def test_inside_a_job_they_must_not(sweeps: list[Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_ID", "1")
    with pytest.raises(ConfigError, match="--results results is relative: a Ray job runs in a throw-away copy"):
        check_paths(sweeps, "results")
    for results in (str(tmp_path), "s3://bucket/x"):
        with pytest.raises(ConfigError, match=r"s: data\.av_digits\.root fsdd is relative"):
            check_paths(sweeps, results)
    check_paths([], "s3://bucket/x")


# By hand -------------------------------------------------------------------------------------------------------------


class Hand:
    """Stands for executor and report: notes what a command asks of them. ends: how each sweep ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        self.ends: dict[str, Tally | BaseException] = {}
        monkeypatch.setattr(execute_module, "execute", self.execute)
        monkeypatch.setattr(
            report, "publish_report", lambda store, name, *_, **__: self.seen.append(f"report of {name}")
        )
        monkeypatch.setattr(
            run_command, "print_dry_run", lambda sweep, *_: self.seen.append(f"dry run of {sweep.name}")
        )
        monkeypatch.setattr(run_command, "require_data", lambda sweeps: self.seen.append(f"data of {len(sweeps)}"))
        monkeypatch.setattr(interrupts, "install", lambda: self.seen.append("signals"))

    def execute(self, sweep: Sweep, store: object, how: Execution, *others: object) -> Tally:
        self.seen.append(f"{sweep.name}{' local' * how.local}{' force' * how.force}")
        end = self.ends.get(sweep.name, Tally(done=1))
        if isinstance(end, BaseException):
            raise end
        return end

    def run(self, desk: Desk, *words: str) -> int:
        self.seen.clear()
        return main(["run", *words, "--file", f"{desk.folder}/sweeps.yaml", "--results", f"{desk.folder}/results"])


@pytest.fixture
def hand(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Hand:
    for name in ("RAY_JOB_ID", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    desk.write(**{name: {"method": "iprm", "datasets": ["digits"]} for name in ("a", "b")})
    return Hand(monkeypatch)


def test_each_sweep_is_run_and_reported_in_turn(desk: Desk, hand: Hand) -> None:
    assert hand.run(desk, "b", "a") == 0
    assert hand.seen == ["data of 2", "signals", "b", "report of b", "a", "report of a"]
    assert hand.run(desk, "a", "--no-report", "--local", "--force") == 0
    assert hand.seen == ["signals", "a local force"]
    assert hand.run(desk, "a", "b", "--dry-run") == 0
    assert hand.seen == ["dry run of a", "dry run of b"]


def test_a_dry_run_says_what_this_machine_lacks_unless_another_trains(
    desk: Desk, hand: Hand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    desk.write(a={"method": "iprm", "datasets": ["digits"], "resources": {"gpus": 9999, "accelerator": "A100"}})
    assert hand.run(desk, "a", "--dry-run") == 0
    assert capsys.readouterr().out.startswith("a: would not run on this machine alone: one run needs 9999 GPU")
    for elsewhere in (["--local"], ["--address", "head:6379"]):
        assert hand.run(desk, "a", "--dry-run", *elsewhere) == 0
        assert capsys.readouterr().out == ""
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert hand.run(desk, "a", "--dry-run") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("tally", "code"),
    [(Tally(done=1, pruned=1), 0), (Tally(done=1, failed=1), 1), (Tally(done=1, diverged=1), 1), (Tally(), 0)],
)
def test_runs_that_failed_or_diverged_are_told_by_the_exit_code(
    desk: Desk, hand: Hand, tally: Tally, code: int
) -> None:
    hand.ends["a"] = tally
    assert hand.run(desk, "a", "b") == code
    assert hand.seen[-1] == "report of b"


def test_an_interruption_still_reports_what_there_is_and_ends(desk: Desk, hand: Hand) -> None:
    hand.ends["a"] = KeyboardInterrupt()
    assert hand.run(desk, "a", "b") == 130
    assert hand.seen == ["data of 2", "signals", "a", "report of a"]


@pytest.mark.parametrize("lasting", [False, True])
def test_results_that_cannot_be_written_end_with_what_to_do(
    desk: Desk, hand: Hand, lasting: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    error = StoreError("cannot write x")
    error.lasting = lasting
    hand.ends["a"] = error
    assert hand.run(desk, "a", "b") == 1
    again = "" if lasting else "run the same command again to go on, "
    assert capsys.readouterr().err == f"cannot write x; {again}what was finished is kept\n"
    assert hand.seen[-1] == "a"
    hand.ends["a"] = LockedError("a is being run")
    assert hand.run(desk, "a") == 3
    assert capsys.readouterr().err == "a is being run\n"
