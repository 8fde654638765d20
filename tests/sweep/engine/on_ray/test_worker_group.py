"""Runs with two workers, by real processes on a Ray without dashboard: the group is kept from run to run, outlives what
it can, is replaced where it cannot, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command_desk import Desk
from support.freed_memory import has_glibc
from support.running_ray import running_ray

from benchmarks.leaks import left

pytestmark = pytest.mark.ray

SWEEP: dict[str, Any] = {
    "method": "odd",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "seeds": [0],
    "epochs": 5,
    "references": False,
    "checkpoint_every": 0,
    "resources": {"workers": 2},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A running Ray with the CPUs of one group; its address."""
    with running_ray() as address:
        yield address


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, odd=True)


def launched() -> Counter[str]:
    """Actors of each class that the cluster has seen."""
    from ray._private.state import actors

    return Counter(actor["ActorClassName"].split(".")[-1] for actor in actors().values())


def assert_nothing_left() -> None:
    deadline = time.monotonic() + 60
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left()


def test_runs_of_a_group_are_those_of_a_fresh_one_and_of_one_worker_and_what_befalls_one_is_told_and_costs_no_other(
    desk: Desk, cluster: str
) -> None:
    rule = {"name": "asha", "grace": 1, "reduction": 2}
    grid = [0.001, 0.1, 0.03, 0.01, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6]
    troubled = [{"trouble": trouble, "once": str(desk.folder / trouble)} for trouble in ("raise", "die")]
    desk.write(
        s=SWEEP | {"vary": {"train.lr": {"grid": grid}}, "scheduler": rule},
        # The first is the second of those, by workers that have trained nothing before: with a patience that changes
        # nothing it is another run.
        troubled=SWEEP
        | {"train": {"lr": 0.1}, "patience": 50, "points": [{"trouble": "none"}, {"trouble": "diverge"}, *troubled]},
        hanging=SWEEP | {"points": [{"trouble": "hang"}], "timeout": 8, "retries": 0},
    )
    before = launched()
    code, out, err = desk.run("run", "s", "troubled", "hanging", "--no-report", "--address", cluster)
    assert (code, err) == (1, "")
    # A loss that is not finite is no reason to launch new workers, nor is a run that a rule ends; each of the other
    # troubles is, and another sweep.
    now = launched() - before
    assert now["RayTrainWorker"] == 2 * 5
    # Trials, and what connects them with their workers; of Train's own nothing.
    assert now == {"RayTrainWorker": 2 * 5, "Mailbox": 5, "ResourceTrainable": 3}
    assert_nothing_left()
    assert desk.logged("keeps_freed_memory") == {float(has_glibc())}

    together = {row["hash"]: row for row in desk.table()}
    statuses = Counter(row["status"] for row in together.values())
    assert statuses.keys() == {"done", "pruned"}
    assert statuses.total() == len(grid)
    assert statuses["pruned"] >= 5
    for final in desk.finished():
        epochs = len((final.parent / "metrics.jsonl").read_text().splitlines())
        assert f'"epochs_trained": {epochs}' in final.read_text()

    befallen = {row["hp.trouble"]: row for row in desk.table("troubled")}
    assert {trouble: row["status"] for trouble, row in befallen.items()} == {
        "diverge": "diverged",
        **dict.fromkeys(["raise", "die", "none"], "done"),
    }
    for trouble, said in {"raise": "LookupError: the odd method was told to raise", "die": "was killed"}.items():
        assert said in out
        # Trained on from the checkpoint of epoch 2.
        assert (desk.folder / trouble).read_text() == "1 2 3 3 4 5"
    assert "(timeout 8 s)" in out or "within 8 s" in out
    (hung,) = desk.table("hanging")
    assert (hung["status"], hung["cause"]) == ("failed", "timeout")

    fresh = befallen["none"]
    (same,) = (other for other in together.values() if other["train.lr"] == 0.1)
    measured = [name for name in fresh if name.startswith(("validation_", "test_")) or name == "epoch"]
    assert fresh["status"] == same["status"] == "done"
    assert {name: fresh[name] for name in measured} == {name: same[name] for name in measured}
    assert {"test_accuracy", "validation_accuracy", "epoch"} <= set(measured)

    # World size is no part of the identity: the same runs, to float tolerance.
    assert desk.run("run", "s", "--no-report", "--local", "--results", "one")[0] == 0
    for row in desk.table(results="one"):
        assert row["status"] == together[row["hash"]]["status"]
        assert row["test_accuracy"] == pytest.approx(together[row["hash"]]["test_accuracy"], abs=0.02)


def under_way(desk: Desk, *words: str) -> subprocess.Popen[str]:
    """The sweep as a command, once its run has a checkpoint."""
    process = desk.start("run", "s", *words)
    while not list(desk.folder.glob("results/runs/*/checkpoint.pt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    return process


def test_a_killed_trial_and_ctrl_c_take_the_workers_along_and_the_run_goes_on(desk: Desk, cluster: str) -> None:
    from ray._private.state import actors

    hurry = desk.folder / "hurry"
    desk.write(s=SWEEP | {"points": [{"pause": 0.5, "hurry": str(hurry)}], "epochs": 20})
    process = under_way(desk, "--address", cluster)
    alive = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
    # Tune's name for a trainable with resources: the trial, which does not train itself.
    (trial,) = (actor for actor in alive if actor["ActorClassName"].endswith("ResourceTrainable"))
    os.kill(trial["Pid"], signal.SIGKILL)
    said = ""
    while "trying again (1 of 1)" not in said:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, process.communicate()
    starts = next(desk.folder.glob("results/runs/*/attempts.jsonl"))
    while starts.read_text().count("started") < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "report:" in out
    assert "once more ends at once" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in out + err
    assert_nothing_left()
    hurry.touch()
    # Without Ray, whose CPUs are free, and which would train it no differently.
    code, _, err = desk.run("run", "s", "--no-report", "--local")
    assert (code, err) == (0, "")
    (row,) = desk.table()
    assert (row["status"], row["epochs_trained"]) == ("done", 20)
    assert starts.read_text().count("started") == 3
