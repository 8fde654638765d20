"""Runs with two workers, by real processes on a Ray without dashboard: the group is kept from run to run, outlives what
it can, is replaced where it cannot, and leaves nothing behind. After these, both sides without Ray."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError
from support.command_desk import Desk
from support.freed_memory import has_glibc
from support.running_ray import running_ray

from benchmarks.leaks import left
from methods.base import DivergedError
from sweep.engine import cluster_guard
from sweep.engine.mailbox import RunRequest
from sweep.engine.on_ray import worker_group
from sweep.engine.on_ray.worker_group import TrialWorkers
from sweep.runs.failures import ProcessDiedError, ProcessMemoryError
from sweep.storage.files import StoreError

SWEEP: dict[str, Any] = {
    "method": "odd",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "seeds": [0],
    "epochs": 5,
    "references": False,
    "checkpoint_every": 0,
    # One group at a time.
    "resources": {"workers": 2, "cpus": (os.cpu_count() or 2) / 2},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A running Ray; its address."""
    with running_ray() as address:
        yield address


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, odd=True)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the clusters of commands have sockets and logs: in a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="sweep") as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield Path(folder)


def launched(logs: Path) -> Counter[str]:
    """Actors of each class that clusters have had, each a process that names the class first."""
    named = (path.read_text().partition(":actor_name:")[2] for path in logs.rglob("logs/worker-*.out"))
    return Counter(text.partition("\n")[0] for text in named)


def assert_nothing_left() -> None:
    deadline = time.monotonic() + 60
    while left() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left()


@pytest.mark.ray
def test_runs_of_a_group_are_those_of_a_fresh_one_and_of_one_worker_and_what_befalls_one_is_told_and_costs_no_other(
    desk: Desk, logs: Path
) -> None:
    rule = {"name": "asha", "grace": 1, "reduction": 2}
    grid = [0.001, 0.1, 0.03, 0.01, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6]
    troubled = [{"trouble": trouble, "once": str(desk.folder / trouble)} for trouble in ("raise", "die")]
    desk.write(
        s=SWEEP | {"vary": {"train.lr": {"grid": grid}}, "scheduler": rule},
        # The first is the second of those, by workers that have trained nothing before: with a patience that changes
        # nothing it is another run.
        troubled=SWEEP
        | {"train": {"lr": 0.1}, "patience": 4, "points": [{"trouble": "none"}, {"trouble": "diverge"}, *troubled]},
        hanging=SWEEP | {"points": [{"trouble": "hang"}], "timeout": 8, "retries": 0},
    )
    code, out, err = desk.run("run", "s", "troubled", "hanging", "--no-report")
    assert (code, err) == (1, "")
    # A loss that is not finite is no reason to launch new workers, nor is a run that a rule ends; each of the other
    # troubles is, and another sweep.
    # Trials, and what connects them with their workers; of Train's own nothing.
    assert launched(logs) == {"RayTrainWorker": 2 * 5, "Mailbox": 5, "GroupActor": 3}
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


@pytest.mark.ray
def test_a_killed_trial_and_ctrl_c_take_the_workers_along_and_the_run_goes_on(desk: Desk, cluster: str) -> None:
    from ray._private.state import actors

    hurry = desk.folder / "hurry"
    # The cluster has the CPUs of two workers of one each.
    needs = {"resources": {"workers": 2}}
    desk.write(s=SWEEP | needs | {"points": [{"pause": 0.5, "hurry": str(hurry)}], "epochs": 20})
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


# The trial's side, without Ray -----------------------------------------------------------------------------------


class Mail:
    """Stands for the mailbox: notes what it is asked, and has ``news`` to take; broken: what is never answered."""

    def __init__(self, news: list[list[Any]], broken: str = "") -> None:
        self.asked, self._news, self._broken = list[str](), list(news), broken

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=partial(self._ask, name))

    def _ask(self, name: str, *given: Any) -> Any:
        self.asked.append(name)
        if name == self._broken:
            return GetTimeoutError(name)
        return self._news.pop(0) if name == "take" else None


class Fitting:
    """Stands for the thread in which the workers are waited for; ends: whether it ends when it is waited for."""

    def __init__(self, ends: bool = True) -> None:
        self.ends, self.waits = ends, list[float | None]()

    def join(self, timeout: float | None = None) -> None:
        self.waits.append(timeout)

    def is_alive(self) -> bool:
        return not self.ends


def answer(awaited: Any, timeout: float | None = None) -> Any:
    """Stand for ray.get."""
    if isinstance(awaited, GetTimeoutError):
        assert timeout == worker_group.GRACE
        raise awaited
    return awaited


@pytest.fixture
def killed() -> list[str]:
    """What was killed."""
    return []


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch, killed: list[str]) -> Callable[..., TrialWorkers]:
    """Make the workers of a trial without any: what their mailbox says, and whether they end by themselves."""
    monkeypatch.setattr(ray, "get", answer)

    def make(*news: list[Any], broken: str = "", ends: bool = True) -> Any:
        workers: Any = object.__new__(TrialWorkers)
        workers._mailbox, workers._thread, workers.failure = Mail([*news], broken), Fitting(ends), None
        workers._trainer = SimpleNamespace(kill_workers=lambda: killed.append("the workers"))
        return workers

    return make


def asked_for(patient: bool) -> RunRequest:
    return RunRequest({}, patient)


def test_epochs_are_handed_on_to_the_end_of_the_run_and_waited_for_where_a_rule_judges_them(trial: Any) -> None:
    for patient, word in ((False, []), (True, ["go_on"])):
        workers = trial([1, 2], [3, None, "of another run"])
        assert list(workers.train(asked_for(patient))) == [1, 2, 3]
        assert workers._mailbox.asked == ["send", "take", *2 * word, "take", *word]
        assert (workers.failure, workers._thread.waits) == (None, [])


def test_a_run_that_is_closed_is_stopped_and_its_workers_are_killed_where_they_do_not_answer(
    trial: Any, killed: list[str]
) -> None:
    for broken, waits in (("", []), ("stop", [None])):
        workers = trial([1, 2], broken=broken)
        epochs = workers.train(asked_for(True))
        assert next(epochs) == 1
        epochs.close()
        assert workers._mailbox.asked == ["send", "take", "stop"]
        assert workers._thread.waits == waits
        assert killed == ["the workers"] * len(waits)


def test_workers_that_end_before_the_run_does_have_failed_of_something(trial: Any) -> None:
    for known in (None, ValueError("odd")):
        workers = trial([1], [])
        workers.failure = known
        assert list(workers.train(asked_for(False))) == [1]
        assert workers._thread.waits == [None]
        assert "stop" not in workers._mailbox.asked
        assert str(workers.failure) == ("odd" if known else "the workers ended before the run did")


@pytest.mark.parametrize("ends", [True, False])
def test_workers_are_let_end_and_killed_where_they_do_not(trial: Any, killed: list[str], ends: bool) -> None:
    workers = trial(ends=ends)
    assert workers.alive is not ends
    workers.close()
    assert workers._mailbox.asked == ["close"]
    assert workers._thread.waits == [worker_group.GRACE, *([] if ends else [None])]
    assert killed == ([] if ends else ["the workers"])


def test_the_mailbox_is_closed_however_the_workers_end(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = itertools.count(3, 2)  # two more each time that it is asked
    monkeypatch.setattr(worker_group, "oom_kills", lambda: next(counts))
    monkeypatch.setattr(worker_group, "first_cause", lambda error, kills: (error, kills))
    for error, kept in ((ControllerError(OSError("full")), True), (AssertionError("a fault"), False), (None, False)):

        def fit(error: BaseException | None = error) -> None:
            if error is not None:
                raise error

        workers = trial()
        workers._trainer.fit = fit
        with pytest.raises(AssertionError) if isinstance(error, AssertionError) else nullcontext():
            workers._fit()
        assert workers.failure == ((error, 2) if kept else None)
        assert workers._mailbox.asked == ["close"]


DIED = "The actor died unexpectedly.\n\tpid: 4711\n\tip: 10.0.0.5\n"


@pytest.mark.parametrize(
    ("error", "kills", "kind", "said"),
    [
        (ControllerError(OSError("full")), 0, OSError, "full"),
        (WorkerGroupError("", {1: ValueError("of 1"), 0: UserExceptionWithTraceback(KeyError("of 0"), "")}), 0,
         KeyError, "of 0"),
        (WorkerGroupError("", {0: ValueError("lost"), 1: WorkerHealthCheckFailedError("", RayActorError(None, DIED))}),
         0, ProcessDiedError, "its process 4711 on 10.0.0.5 was killed"),
        (WorkerGroupError("", {0: RayActorError(None, DIED)}), 1, ProcessMemoryError, "ran out of memory"),
        (WorkerGroupError("", {0: RayActorError(None, DIED.replace("0.5", "0.6"))}), 1, ProcessDiedError, "was killed"),
        (RayActorError(None, DIED), 0, ProcessDiedError, "was killed"),
        (RayError("of another kind"), 0, RayError, "of another kind"),
    ],
)  # fmt: skip
def test_the_first_cause_is_a_death_and_else_what_the_first_worker_raised(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kills: int, kind: type[Exception], said: str
) -> None:
    monkeypatch.setattr(worker_group, "get_node_ip_address", lambda: "10.0.0.5")
    found = worker_group.first_cause(error, kills)
    assert type(found) is kind
    assert said in str(found)


@pytest.mark.parametrize(
    ("bundle", "guarded", "backend", "on_gpu"),
    [
        ({"CPU": 2.0}, True, "gloo", False),
        ({"CPU": 1.0, "GPU": 1.0}, False, "cpu:gloo,cuda:nccl", True),
        ({"CPU": 1.0, "GPU": 0.5}, False, "gloo", True),
    ],
)
def test_workers_are_those_of_the_placement_group_and_meet_as_their_devices_allow(
    monkeypatch: pytest.MonkeyPatch, bundle: dict[str, float], guarded: bool, backend: str, on_gpu: bool
) -> None:
    sizes, ended = list[int](), threading.Event()
    mailbox = SimpleNamespace(close=SimpleNamespace(remote=ended.set))
    monkeypatch.setattr(os, "environ", {cluster_guard.VARIABLE: "1"} if guarded else {})
    monkeypatch.setattr(worker_group, "get_current_placement_group", lambda: SimpleNamespace(bundle_specs=[bundle] * 3))
    actor = SimpleNamespace(remote=lambda size: sizes.append(size) or mailbox)
    monkeypatch.setattr(ray, "remote", lambda num_cpus: lambda kind: actor)
    monkeypatch.setattr(
        worker_group, "PlacedTrainer", lambda work, **given: SimpleNamespace(work=work, fit=lambda: None, **given)
    )
    workers: Any = TrialWorkers("/folder")
    workers._thread.join()
    assert ended.is_set()
    assert workers._thread.daemon
    assert not workers.alive
    made = workers._trainer
    assert (sizes, made.work, made.train_loop_config) == ([3], worker_group.work, {"mailbox": mailbox})
    scaling, run = made.scaling_config, made.run_config
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (3, on_gpu, bundle)
    failures = run.failure_config
    assert (failures.max_failures, failures.controller_failure_limit, failures.max_preemption_failures) == (0, 0, 0)
    assert (run.storage_path, made.torch_config.backend) == ("/folder", backend)
    file = getattr(made.torch_config, "file", "")
    assert bool(file) == guarded
    assert not guarded or file.startswith("/folder/meeting-")


# The workers' side, without Ray ----------------------------------------------------------------------------------


class Training:
    """One worker of two that trains a run of three epochs, which may end by an error after the second."""

    def __init__(self, patch: pytest.MonkeyPatch, rank: int, error: Exception | None = None, stop: int = 0) -> None:
        self.posted, self.told, self.committed = list[Any](), list[int](), list[Exception]()
        self.options, self.closed = dict[str, Any](), False
        self._error, self._stop = error, stop
        self.workers: Any = SimpleNamespace(rank=rank, broadcast=self._broadcast)
        self.mailbox: Any = SimpleNamespace(post=SimpleNamespace(remote=self._post))
        patch.setattr(ray, "get", answer)
        patch.setattr(worker_group, "Run", SimpleNamespace(model_validate_json=lambda text: f"run of {text}"))
        patch.setattr(worker_group, "check_code_of", lambda run, code: self.options.update(checked=(run, code)))
        store = SimpleNamespace(run=lambda run_hash: f"folder of {run_hash}")
        patch.setattr(worker_group, "join_store", lambda *given: self.options.update(store=given) or store)
        patch.setattr(worker_group, "train", self._train)
        patch.setattr(worker_group, "commit_failure", lambda folder, error: self.committed.append(error))
        patch.setattr(worker_group, "_raise_death", lambda members: self.options.update(asked=members))

    def _train(self, run: str, folder: str, **options: Any) -> Iterator[int]:
        self.options |= {"trained": (run, folder), **options}
        try:
            yield from (1, 2)
            if self._error is not None:
                raise self._error
            yield 3
        finally:
            self.closed = True

    def _post(self, news: Any) -> bool:
        self.posted.append(news)
        return news == self._stop

    def _broadcast(self, stop: Any) -> Any:
        """Give the first worker's word, which is ours where we are the first."""
        self.told.append(int(stop))
        return stop if self.workers.rank == 0 else torch.tensor(int(len(self.told) == self._stop))

    def go(self) -> None:
        config = {"run": "{}", "code": "c", "results": "r", "mark": "m", "hash": "h"}
        config |= {"timeout": 9.0, "checkpoint_every": 5.0, "gpu_share": 0.5}
        worker_group._train(RunRequest(config, True), self.workers, ["a", "b"], self.mailbox)


@pytest.mark.parametrize("stop", [0, 2])
@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_worker_tells_of_each_epoch_and_all_stop_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, rank: int, stop: int
) -> None:
    training = Training(monkeypatch, rank, stop=stop)
    training.go()
    epochs = [1, 2] if stop else [1, 2, 3]
    assert training.posted == ([*epochs, None] if rank == 0 else [])
    assert training.told == ([int(epoch == stop) for epoch in epochs] if rank == 0 else [0] * len(epochs))
    assert (training.closed, training.committed) == (True, [])
    assert training.options == {
        "checked": ("run of {}", "c"), "store": ("r", "m"), "trained": ("run of {}", "folder of h"),
        "timeout": 9.0, "checkpoint_every": 5.0, "gpu_share": 0.5, "workers": training.workers,
    }  # fmt: skip


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_that_diverges_has_failed_once_and_its_workers_go_on(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    training = Training(monkeypatch, rank, error := DivergedError("not finite"))
    training.go()
    assert training.committed == ([error] if rank == 0 else [])
    assert training.posted == ([1, 2, None] if rank == 0 else [])
    assert training.closed
    assert "asked" not in training.options


@pytest.mark.parametrize(
    ("error", "committed"), [(ValueError("odd"), True), (StoreError("full"), False), (RayError("gone"), False)]
)
@pytest.mark.parametrize("rank", [0, 1])
def test_another_error_is_that_of_the_worker_that_met_it_unless_a_death_is_behind_it(
    monkeypatch: pytest.MonkeyPatch, rank: int, error: Exception, committed: bool
) -> None:
    training = Training(monkeypatch, rank, error)
    with pytest.raises(type(error)):
        training.go()
    assert training.committed == ([error] if committed else [])
    assert training.options["asked"] == ["a", "b"]
    assert None not in training.posted
    assert training.closed


def test_a_worker_trains_one_run_after_another_until_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, checked, requests = list[Any](), list[str](), ["first", "second", None]
    mailbox = SimpleNamespace(
        join=SimpleNamespace(remote=lambda member: [member, "another"]),
        request=SimpleNamespace(remote=lambda number: requests[number]),
    )
    monkeypatch.setattr(ray, "get", answer)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(current_actor="this one"))
    monkeypatch.setattr(worker_group, "check_packages", lambda: checked.append("packages"))
    monkeypatch.setattr(worker_group, "WorkerGroup", lambda: "the group")
    monkeypatch.setattr(worker_group, "_train", lambda *given: seen.append(given))
    worker_group.work({"mailbox": mailbox})
    assert seen == [(request, "the group", ["this one", "another"], mailbox) for request in requests[:2]]
    assert checked == ["packages"]


def test_the_death_of_another_worker_is_asked_for_as_long_as_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = list[tuple[Any, ...]]()

    def wait(answers: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        waited.append((answers, num_returns, timeout))
        return answers[:1], answers[1:]

    got = list[Any]()
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", got.append)
    members: Any = [SimpleNamespace(__ray_ready__=SimpleNamespace(remote=lambda name=name: name)) for name in "ab"]
    worker_group._raise_death(members)
    assert waited == [(["a", "b"], 2, worker_group.GRACE)]
    assert got == [["a"]]
