"""Sweeps on clusters that others have started: as jobs, from one of the nodes, over several nodes that may die."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.job_submission import JobStatus, JobSubmissionClient
from support.command_desk import ROOT, Desk

from sweep.engine.on_ray.session import NOT_UP, STARTS, small_node, started_node
from sweep.runs.module_imports import PACKAGES

SWEEP: dict[str, Any] = {
    "method": "iprm",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"alpha": {"grid": [0.1, 0.5, 0.9]}},
    "seeds": [0],
    "epochs": 8,
    "references": False,
    "checkpoint_every": 0,
    "resources": {"cpus": 1},
}

SLOW: dict[str, Any] = SWEEP | {
    "method": "odd",
    "vary": {"train.lr": {"grid": [0.01, 0.02, 0.05]}},
    "epochs": 5,
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, odd=True)


def until(hurry: Path, pause: float = 1.0) -> dict[str, Any]:
    """Hyperparameters of runs that take their time until there is a file."""
    return {"hyperparameters": {"pause": pause, "hurry": str(hurry)}}


# Jobs ----------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that no other Ray of this machine takes before this one does: above those of Ray's workers, and below
    those that the system gives to whoever does not mind."""
    while True:
        port = 20000 + secrets.randbelow(12000)
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port


RAY = [sys.executable, "-m", "ray.scripts.scripts"]
NO_SPARE_WORKERS = {"RAY_prestart_worker_first_driver": "0"}
"""Setting of a node that starts processes when they are needed: trials can use none of those that it would keep."""


@dataclass
class Job:
    """A job of a cluster."""

    client: JobSubmissionClient
    name: str

    @property
    def said(self) -> str:
        return str(self.client.get_job_logs(self.name))

    def stop(self) -> None:
        """As ``ray job stop`` does."""
        assert self.client.stop_job(self.name)
        assert self.end() == JobStatus.STOPPED

    def end(self) -> JobStatus:
        """How it ended, once it has."""
        deadline = time.monotonic() + 500
        while not (status := self.client.get_job_status(self.name)).is_terminal():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)
        return status


class Head:
    """A cluster with tokens, as ``ray start --head`` makes it, for the user of a home of its own."""

    def __init__(self, home: Path) -> None:
        self.token = secrets.token_hex(32)
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(self.token)
        settings = {"RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1", **NO_SPARE_WORKERS}
        self.environment = {**os.environ, "HOME": str(home), **settings}
        self.environment.pop("PYTHONPATH", None)
        port, dashboard, agent, client = (free_port() for _ in range(4))
        self.address, self.jobs = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        ports = f"--port {port} --dashboard-port {dashboard} --dashboard-agent-listen-port {agent}"
        ports += f" --ray-client-server-port {client}"
        self.log = home / "log.txt"
        start = f"start --head --block --num-cpus 2 {ports} --disable-usage-stats --include-log-monitor 0 --temp-dir"
        self._command = [*RAY, *start.split(), f"{home}/ray"]
        self._starts = 0
        self._start()

    def _start(self) -> None:
        self._starts += 1
        log = self.log.open("a")
        self.process = subprocess.Popen(self._command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)

    def wait(self) -> None:
        """Until it takes jobs."""
        while True:
            if self.process.poll() is not None:
                said = self.log.read_text()
                assert NOT_UP in said, said
                assert self._starts < STARTS, said
                self._start()
            try:
                urllib.request.urlopen(f"{self.jobs}/api/version", timeout=60)
            except urllib.error.HTTPError:  # it asks for the token, as it should
                return
            except OSError:
                time.sleep(0.1)

    def submit(self, folder: Path, command: str) -> Job:
        """Submit a folder as a job of a command of a shell, as ``ray job submit`` does."""
        # That is done in a fresh process, which imports Ray for each word to a job.
        client = JobSubmissionClient(self.jobs, headers={"Authorization": f"Bearer {self.token}"})
        given = {"entrypoint": command, "runtime_env": {"working_dir": str(folder)}}
        deadline = time.monotonic() + 300
        while True:
            try:
                return Job(client, client.submit_job(**given))
            except RuntimeError as error:
                # The dashboard is up before the agent that starts jobs.
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        started = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        for process in started:
            if isinstance(process, subprocess.Popen) or process.is_running():
                process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        started = Head(Path(home))
        try:
            started.wait()
            yield started
        finally:
            started.stop()


@pytest.fixture
def project(desk: Desk) -> Path:
    """What a user submits: the code with sweeps.yaml, in a folder of its own; with the odd method."""
    for package in (*PACKAGES, "tests/support"):
        copy = desk.folder / Path(package).name
        shutil.copytree(ROOT / package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(desk.folder / "packages", desk.folder, dirs_exist_ok=True)
    return desk.folder


@pytest.mark.ray
def test_a_stopped_job_is_submitted_again_after_an_edit_and_goes_on_but_not_into_a_relative_folder(
    desk: Desk, project: Path, head: Head, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = tmp_path_factory.mktemp("shared")
    relative = [sys.executable, "-m", "sweep", "run", "s", "--no-report"]
    command = [*relative, "--results", str(shared)]
    hurry = shared / "hurry"
    slow = SLOW | until(hurry) | {"resources": {"cpus": 2}}
    desk.write(s=slow)
    job = head.submit(project, shlex.join(command))
    runs = shared / "runs"
    deadline = time.monotonic() + 300
    while not list(runs.glob("*/final.json")):
        assert time.monotonic() < deadline, job.said
        time.sleep(0.02)
    job.stop()
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/final.json")}
    assert 1 <= len(before) < 3

    hurry.touch()
    desk.write(s=slow | {"vary": {"train.lr": {"grid": [0.01, 0.02, 0.03, 0.05]}}})
    # First what is refused in a job, whose folder is thrown away.
    job = head.submit(project, f"{shlex.join(relative)}; echo exit code $?; {shlex.join(command)}")
    assert job.end() == JobStatus.SUCCEEDED, job.said
    said = job.said
    assert "--results results is relative" in said
    assert "exit code 2" in said
    assert f"4 of 4 runs ended, {len(before)} kept from earlier" in said
    assert before.items() <= {path: path.stat().st_mtime_ns for path in runs.glob("*/final.json")}.items()

    assert desk.run("run", "s", "--local", "--no-report")[0] == 0
    assert Desk(shared.parent).table(results=shared.name) == desk.table()


@pytest.mark.ray
def test_a_cluster_with_tokens_is_joined_with_the_token_alone(
    desk: Desk, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(s=SWEEP | {"epochs": 1, "resources": {"cpus": 2}})
    words = ("run", "s", "--no-report", "--address", head.address)
    monkeypatch.setenv("HOME", head.environment["HOME"])
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    code, _, err = desk.run(*words)
    assert code == 2
    assert "set RAY_AUTH_MODE=token" in err
    assert "Traceback" not in err
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert desk.run(*words)[0] == 0


# Several nodes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of two nodes with one CPU each, the second of which says that it has a T4; the last test kills it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RAY_AUTH_MODE": "disabled", **NO_SPARE_WORKERS}.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        logging.getLogger("ray").setLevel(logging.ERROR)
        head = {"num_cpus": 1, "include_dashboard": False}
        second = {"num_cpus": 1, "num_gpus": 1, "resources": {"accelerator_type:T4": 1}}
        with small_node():
            made = started_node(lambda: Cluster(initialize_head=True, head_node_args=head))
            made.second = started_node(lambda: made.add_node(**second))
        yield made
        made.shutdown()


@pytest.mark.ray
def test_runs_are_placed_on_the_nodes_that_have_what_they_ask_for(desk: Desk, nodes: Any) -> None:
    small = SWEEP | {"epochs": 1}
    # Two workers that each take the only CPU of a node; two runs on one GPU; and kinds of GPU, one there and one not.
    spread = small | {"vary": {}, "resources": {"workers": 2, "placement": "strict_spread"}}
    shared = small | {"resources": {"cpus": 0.5, "gpus": 0.5, "accelerator": "T4"}}
    absent = SWEEP | {"epochs": 2, "resources": {"gpus": 1, "accelerator": "H100"}}
    desk.write(spread=spread, shared=shared, absent=absent)
    code, _, err = desk.run("run", "spread", "shared", "absent", "--no-report", "--address", nodes.address)
    assert code == 2
    assert "H100" in err
    assert len(err.splitlines()) == 1
    for name, count in (("spread", 1), ("shared", 3)):
        assert [row["status"] for row in desk.table(name)] == ["done"] * count


@pytest.mark.ray
def test_runs_of_a_node_that_is_killed_are_trained_on_elsewhere(desk: Desk, nodes: Any) -> None:
    hurry = desk.folder / "hurry"
    # Long enough that none ends before its node does, however far apart two begin on a busy machine.
    desk.write(s=SLOW | until(hurry, 3.0) | {"epochs": 20})
    process = desk.start("run", "s", "--no-report", "--address", nodes.address)
    # Both nodes train once two runs have a checkpoint.
    runs = desk.folder / "results" / "runs"
    while len(list(runs.glob("*/checkpoint.pt"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(nodes.second.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    # Its run is begun again.
    while not any(starts.read_text().count("started") > 1 for starts in runs.glob("*/attempts.jsonl")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    hurry.touch()
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, out + err
    assert desk.run("run", "s", "--local", "--no-report", "--results", "whole")[0] == 0
    assert desk.table() == desk.table(results="whole")
