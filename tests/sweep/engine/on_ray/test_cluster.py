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
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.command_desk import ROOT, Desk

from sweep.engine.on_ray.session import NOT_UP, STARTS, started_node
from sweep.runs.identity import PACKAGES

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


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


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


class Head:
    """A cluster with tokens, as ``ray start --head`` makes it, for the user of a home of its own."""

    def __init__(self, home: Path) -> None:
        self.token = secrets.token_hex(32)
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(self.token)
        self.environment = {**os.environ, "HOME": str(home), "RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1"}
        self.environment.pop("PYTHONPATH", None)
        port, dashboard, agent, client = (free_port() for _ in range(4))
        self.address, self.jobs = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        ports = f"--port {port} --dashboard-port {dashboard} --dashboard-agent-listen-port {agent}"
        ports += f" --ray-client-server-port {client}"
        self.log = home / "log.txt"
        start = f"start --head --block --num-cpus 2 {ports} --disable-usage-stats --temp-dir"
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

    def ray(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of Ray as the user with the token gives it."""
        return subprocess.run([*RAY, *words], env=self.environment, capture_output=True, text=True, timeout=500)

    def submit(self, folder: Path, *command: str, name: str | None = None) -> subprocess.CompletedProcess[str]:
        """Submit a folder as a job and wait for its end; with a name, only submit it."""
        given = ["--submission-id", name, "--no-wait"] if name else []
        submit = ("job", "submit", "--address", self.jobs, "--working-dir", str(folder), *given, "--", *command)
        deadline = time.monotonic() + 300
        # The dashboard is up before the agent that starts jobs.
        while "No available agent" in (done := self.ray(*submit)).stderr and time.monotonic() < deadline:
            time.sleep(0.1)
        return done

    def stop_job(self, name: str) -> None:
        """As ``ray job stop`` does; asked for first without its start-up, in which a sweep may end by itself."""
        headers = {"Authorization": f"Bearer {self.token}"}
        asked = urllib.request.Request(f"{self.jobs}/api/jobs/{name}/stop", method="POST", headers=headers)
        urllib.request.urlopen(asked, timeout=60).close()
        assert self.ray("job", "stop", "--address", self.jobs, name).returncode == 0

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
    """What a user submits: the code with sweeps.yaml, in a folder of its own."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, desk.folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return desk.folder


@pytest.mark.ray
def test_a_stopped_job_is_submitted_again_after_an_edit_and_goes_on_but_not_into_a_relative_folder(
    desk: Desk, project: Path, head: Head, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = tmp_path_factory.mktemp("shared")
    relative = [sys.executable, "-m", "sweep", "run", "s", "--no-report"]
    command = [*relative, "--results", str(shared)]
    desk.write(s=SWEEP | {"epochs": 100, "resources": {"cpus": 2}})
    assert head.submit(project, *command, name="first").returncode == 0
    runs = shared / "runs"
    deadline = time.monotonic() + 300
    while not list(runs.glob("*/final.json")):
        assert time.monotonic() < deadline, head.ray("job", "logs", "--address", head.jobs, "first").stdout
        time.sleep(0.02)
    head.stop_job("first")
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/final.json")}
    assert 1 <= len(before) < 3

    desk.write(s=SWEEP | {"epochs": 100, "vary": {"alpha": {"grid": [0.1, 0.3, 0.5, 0.9]}}})
    # What a shell runs: first what is refused in a job, whose folder is thrown away.
    done = head.submit(project, "sh", "-c", f"{shlex.join(relative)}; echo exit code $?; {shlex.join(command)}")
    assert done.returncode == 0, done.stdout
    assert "--results results is relative" in done.stdout
    assert "exit code 2" in done.stdout
    assert f"4 of 4 runs ended, {len(before)} kept from earlier" in done.stdout
    assert before.items() <= {path: path.stat().st_mtime_ns for path in runs.glob("*/final.json")}.items()

    assert desk.run("run", "s", "--local", "--no-report")[0] == 0
    assert Desk(shared.parent).table(results=shared.name) == desk.table()


@pytest.mark.ray
def test_a_cluster_with_tokens_is_joined_with_the_token_alone(
    desk: Desk, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.write(s=SWEEP | {"epochs": 1})
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
        patch.setenv("RAY_AUTH_MODE", "disabled")
        from ray.cluster_utils import Cluster

        logging.getLogger("ray").setLevel(logging.ERROR)
        head = {"num_cpus": 1, "include_dashboard": False}
        made = started_node(lambda: Cluster(initialize_head=True, head_node_args=head))
        second = {"num_cpus": 1, "num_gpus": 1, "resources": {"accelerator_type:T4": 1}}
        made.second = started_node(lambda: made.add_node(**second))
        yield made
        made.shutdown()


@pytest.mark.ray
def test_runs_are_placed_on_the_nodes_that_have_what_they_ask_for(desk: Desk, nodes: Any) -> None:
    small = SWEEP | {"epochs": 1}
    # Two workers that each take the only CPU of a node; two runs on one GPU; and kinds of GPU, one there and one not.
    spread = small | {"vary": {}, "resources": {"workers": 2, "placement": "strict_spread"}}
    shared = small | {"resources": {"cpus": 0.5, "gpus": 0.5, "accelerator": "T4"}}
    absent = small | {"resources": {"gpus": 1, "accelerator": "H100"}}
    desk.write(one=small, spread=spread, shared=shared, absent=absent)
    code, out, err = desk.run("run", "one", "spread", "shared", "--no-report", "--address", nodes.address)
    assert code == 0, out + err
    for name, count in (("one", 3), ("spread", 1), ("shared", 3)):
        assert [row["status"] for row in desk.table(name)] == ["done"] * count
    code, _, err = desk.run("run", "absent", "--force", "--no-report", "--address", nodes.address)
    assert code == 2
    assert "H100" in err


@pytest.mark.ray
def test_runs_of_a_node_that_is_killed_are_trained_on_elsewhere(desk: Desk, nodes: Any) -> None:
    desk.write(s=SWEEP | {"epochs": 150})
    process = desk.start("run", "s", "--no-report", "--address", nodes.address)
    # Both nodes train once two runs have a checkpoint.
    checkpoints = desk.folder / "results" / "runs"
    while len(list(checkpoints.glob("*/checkpoint.pt"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(nodes.second.all_processes["raylet"][0].process.pid, signal.SIGKILL)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, out + err
    assert desk.run("run", "s", "--local", "--no-report", "--results", "whole")[0] == 0
    assert desk.table() == desk.table(results="whole")
