"""Failures under Ray, with real kills: what a user is told, and that the same command goes on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.command_desk import Desk

from sweep.engine.on_ray.tune import SweepStopper

SWEEP: dict[str, Any] = {
    "method": "odd",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "seeds": [0, 1],
    "references": False,
    "checkpoint_every": 0,
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, odd=True)


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def begun(desk: Desk, process: subprocess.Popen[str]) -> None:
    """Until a run of the process has written a checkpoint."""
    started = time.time()
    while not any(path.stat().st_mtime > started for path in desk.folder.glob("results/runs/*/checkpoint.pt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.ray
def test_a_killed_worker_a_hang_and_an_exception_end_no_run_but_their_own(desk: Desk) -> None:
    points = [
        {"trouble": "die", "once": str(desk.folder / "died")},
        {"trouble": "hang", "once": str(desk.folder / "hung")},
        {"trouble": "raise"},
        {"trouble": "none"},
    ]
    keys = {"points": points, "seeds": [0], "epochs": 4, "timeout": 20}
    desk.write(s=SWEEP | keys)
    code, out, err = desk.run("run", "s", "--no-report")
    assert (code, err) == (1, "")
    assert "(raylet)" not in out
    assert out.count("trying again (1 of 1)") == 3
    assert "1 failed (1 error)" in out
    rows = {row["hp.trouble"]: row for row in desk.table()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "die": "done",
        "hang": "done",
        "raise": "failed",
        "none": "done",
    }
    # What one of them went on to from its checkpoint is what the undisturbed one reached.
    for name in ("die", "hang"):
        assert rows[name]["test_accuracy"] == rows["none"]["test_accuracy"]
    assert "failed (process)" in out
    assert "failed (timeout)" in out


@pytest.mark.ray
def test_a_disk_that_is_full_for_the_workers_stops_the_sweep_with_one_message(desk: Desk) -> None:
    desk.write(s=SWEEP | {"hyperparameters": {"pause": 0.2}, "epochs": 15})
    process = desk.start("run", "s", "--no-report")
    begun(desk, process)
    for child in descendants(process.pid):
        if "ray::" in " ".join(child.cmdline()):
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "File too large" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1
    # Without Ray, which would train them no differently and takes its time to start.
    code, _, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (0, "")


@pytest.mark.ray
def test_ctrl_c_once_reports_and_twice_ends_at_once_with_every_process(desk: Desk) -> None:
    hurry = desk.folder / "hurry"
    desk.write(s=SWEEP | {"hyperparameters": {"pause": 0.5, "hurry": str(hurry)}, "epochs": 60})
    process = desk.start("run", "s")
    begun(desk, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "report:" in out
    assert "once more ends at once" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in out + err
    assert len(desk.finished()) < 2

    process = desk.start("run", "s")
    begun(desk, process)
    started = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.stderr is not None
    assert "once more ends at once" in process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []

    hurry.touch()
    code, out, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (0, "")
    assert [row["status"] for row in desk.table()] == ["done", "done"]


def test_the_stopper_keeps_the_first_exception_and_ends_the_sweep() -> None:
    stopper = SweepStopper()
    assert not stopper.stop_all()
    for error in (ValueError("first"), KeyError("second")):
        with stopper:
            raise error
    assert stopper.stop_all()
    assert str(stopper.reason) == "first"
    assert not stopper("a trial", {})


def test_the_stopper_lets_what_is_no_error_of_a_callback_pass() -> None:
    stopper = SweepStopper()
    with pytest.raises(SystemExit), stopper:
        raise SystemExit
    assert stopper.reason is None
