"""Preparing on the nodes of a cluster, by a stand-in for Ray that runs a task when its result is asked for: nodes are
folders of caches. Real clusters prepare in test_cluster.py."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest
from ray.exceptions import NodeDiedError, RayError, RayTaskError, WorkerCrashedError
from support.binary_files_dataset import CountingWatcher, contents, shelf, write_shelf

from data.base import DataError
from data.prepared.cache import decoding
from data.prepared.cache.folder import CacheError, CacheFolder
from data.prepared.cache.preparation import Preparation, Shard
from data.prepared.cache.records import Marker, Meta
from sweep.config import ConfigError
from sweep.engine.on_ray import prepare
from sweep.engine.on_ray.prepare import prepare_nodes


class Display(CountingWatcher):
    """Stands for the display of a preparation."""

    shown = False

    def __enter__(self) -> Display:
        self.shown = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class Task:
    """One call of a function on a node, which runs when its result is asked for."""

    def __init__(self, cluster: Cluster, work: Callable[[], Any], words: str, node: str) -> None:
        self.cluster, self.work, self.words, self.node = cluster, work, words, node

    def result(self) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SWEEP_CACHE", str(self.cluster.folder / self.node))
            return self.work()


class Cluster:
    """Stands for Ray. processors: node, by a letter -> how many it has."""

    def __init__(self, folder: Path, **processors: int) -> None:
        self.folder, self.processors = folder, processors
        self.asked: list[str] = []
        self.cancelled: list[str] = []
        self.most_running = dict.fromkeys(processors, 0)

    def nodes(self) -> list[dict[str, Any]]:
        known = [{"NodeID": n * 56, "Resources": {"CPU": float(c)}, "Alive": True} for n, c in self.processors.items()]
        return [
            *known,
            {"NodeID": "d" * 56, "Resources": {"CPU": 4.0}, "Alive": False},
            {"NodeID": "e" * 56, "Resources": {}, "Alive": True},
        ]

    def put(self, work: Preparation) -> Preparation:
        return work

    def get(self, task: Task) -> Any:
        return task.result()

    def wait(self, tasks: Sequence[Task], num_returns: int) -> tuple[list[Task], list[Task]]:
        for node in self.processors:
            running = sum(task.node == node for task in tasks)
            self.most_running[node] = max(self.most_running[node], running)
        return list(tasks[:num_returns]), list(tasks[num_returns:])

    def cancel(self, task: Task) -> None:
        self.cancelled.append(task.words)

    def remote(self, name: str, function: Callable[..., Any]) -> Any:
        """Stands for a function that Ray runs elsewhere: notes what it is asked to do, where and by how much."""

        def options(scheduling_strategy: Any, num_cpus: int) -> Any:
            assert not scheduling_strategy.soft
            node = scheduling_strategy.node_id[0]

            def task(*given: Any) -> Task:
                said = f" {given[0].number}{' waiting' * given[1]}" if isinstance(given[0], Shard) else ""
                self.asked.append(f"{name} on {node} by {num_cpus}{said}")
                return Task(self, lambda: function(*given), self.asked[-1], node)

            return SimpleNamespace(remote=task)

        return SimpleNamespace(options=options)


Start = Callable[..., Cluster]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a cluster of nodes with so many processors."""
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "driver"))

    def start(**processors: int) -> Cluster:
        cluster = Cluster(tmp_path, **processors)
        monkeypatch.setattr(prepare, "ray", cluster)
        for name, function in FUNCTIONS.items():
            monkeypatch.setattr(prepare, name, cluster.remote(name[1:], function))
        return cluster

    return start


FUNCTIONS = {name: getattr(prepare, name)._function for name in ("_look", "_run", "_finish")}


@pytest.fixture
def work(tmp_path: Path) -> Preparation:
    """A dataset of five shards: 16, 16 and 8 samples to train with, 6 and 6 others."""
    return shelf(write_shelf(tmp_path / "shelf"))


def local(work: Preparation, folder: Path) -> Meta:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_CACHE", str(folder))
        return decoding.prepare(work)


def test_every_living_node_with_a_processor_makes_the_cache(start: Start, work: Preparation, tmp_path: Path) -> None:
    cluster, display = start(a=2, b=1), Display()
    assert prepare_nodes(work, display) == local(work, tmp_path / "local")  # type: ignore[arg-type]
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "local")
    assert not (tmp_path / "driver" / work.folder.path.name).exists()
    assert cluster.asked[:2] == ["look on a by 0", "look on b by 0"]
    assert cluster.asked[-2:] == ["finish on a by 0", "finish on b by 0"]
    runs = cluster.asked[2:-2]
    # A node has two tasks a processor before it, and the second begins in the middle.
    assert runs[:6] == [f"run on a by 1 {n}" for n in (0, 1, 2, 3)] + [f"run on b by 1 {n}" for n in (2, 3)]
    assert [line[-1] for line in runs if " b " in line] == ["2", "3", "4", "0", "1"]
    assert [line[-1] for line in runs if " a " in line] == ["0", "1", "2", "3", "4"]
    assert cluster.most_running == {"a": 4, "b": 2}
    assert (display.shown, display.expected, display.done, cluster.cancelled) == (True, 104, 104, [])
    # Another time all is there.
    cluster.asked.clear()
    again = Display()
    assert prepare_nodes(work, again).key == work.key  # type: ignore[arg-type]
    assert (cluster.asked, again.shown) == (["look on a by 0", "look on b by 0"], False)


def test_only_what_a_node_lacks_is_decoded_there(start: Start, work: Preparation, tmp_path: Path) -> None:
    local(work, tmp_path / "a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_CACHE", str(tmp_path / "b"))
        decoding.reserve(work, work.pending())
        work.shards[0].run()
        work.shards[2].only([0, 1, 2]).run()
    cluster, display = start(a=1, b=1), Display()
    prepare_nodes(work, display)  # type: ignore[arg-type]
    assert cluster.asked[2:] == [*(f"run on b by 1 {n}" for n in (1, 2, 3, 4)), "finish on b by 0"]
    assert (display.expected, display.done) == (33, 33)
    assert contents(tmp_path / "b") == contents(tmp_path / "a")


def test_a_shard_that_another_process_is_at_is_waited_for_last(
    start: Start, work: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Shard.run
    monkeypatch.setattr(Shard, "run", lambda shard, wait: run(shard, wait) if wait or shard.number else None)
    cluster, display = start(a=1), Display()
    prepare_nodes(work, display)  # type: ignore[arg-type]
    assert [line.removeprefix("run on a by 1 ") for line in cluster.asked[1:-1]] == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "0 waiting",
    ]
    assert display.done == 52


def test_samples_that_cannot_be_used_are_kept_in_mind_or_refused(start: Start, tmp_path: Path) -> None:
    root = write_shelf(tmp_path / "damaged")
    (root / "train" / "003_1.bin").write_bytes(b"")
    start(a=1, b=1)
    with pytest.raises(DataError, match=r"1 of 52 samples cannot be used.*train/003_1"):
        prepare_nodes(shelf(root), Display())  # type: ignore[arg-type]
    lenient = shelf(root, allowed_missing=0.1)
    cluster = start(a=1, b=1)
    assert [skip.id for skip in prepare_nodes(lenient, Display()).skipped] == ["train/003_1"]  # type: ignore[arg-type]
    cluster.asked.clear()
    assert [skip.id for skip in prepare_nodes(lenient, Display()).skipped] == ["train/003_1"]  # type: ignore[arg-type]
    assert len(cluster.asked) == 2
    # What was kept in mind is refused where less is allowed.
    with pytest.raises(DataError, match="1 of 52 samples cannot be used"):
        prepare_nodes(shelf(root), Display())  # type: ignore[arg-type]


def test_a_sample_of_two_splits_is_refused_before_a_node_is_asked(start: Start, tmp_path: Path) -> None:
    root = write_shelf(tmp_path / "repeated")
    source, copy = (sorted((root / split).iterdir())[0] for split in ("train", "test"))
    copy.write_bytes(source.read_bytes())
    cluster = start(a=1)
    with pytest.raises(DataError, match="train"):
        prepare_nodes(replace(shelf(root), allow_repeats=False), Display())  # type: ignore[arg-type]
    assert cluster.asked == []


def test_a_cache_that_cannot_be_ended_is_told_in_words(
    start: Start, work: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(folder: CacheFolder, meta: Meta) -> Meta:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(CacheFolder, "finish", finish)
    start(a=1)
    with pytest.raises(CacheError, match="no room for the next 0 bytes"):
        prepare_nodes(work, Display())  # type: ignore[arg-type]


def test_a_cluster_without_processors_is_refused(start: Start, work: Preparation) -> None:
    start()
    with pytest.raises(ConfigError, match="no node of the Ray cluster has a processor"):
        prepare_nodes(work, Display())  # type: ignore[arg-type]


def broken(cause: Exception) -> RayTaskError:
    return RayTaskError("_run", "Traceback", cause)


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (broken(DataError("no room")), DataError, r"^no room$"),
        (broken(ZeroDivisionError("odd")), RayTaskError, "odd|Traceback"),
        (NodeDiedError("a"), DataError, "^a node went away while the data was being prepared; run again to go on$"),
        (WorkerCrashedError(), DataError, r"on a sample of train/000_0 to train/015_1 \(WorkerCrashedError\); what"),
    ],
)
def test_what_ends_a_task_is_told_and_the_others_are_cancelled(
    start: Start, work: Preparation, monkeypatch: pytest.MonkeyPatch, raised: RayError, kind: type[Exception], said: str
) -> None:
    def run(shard: Shard, wait: bool) -> Marker:
        raise raised

    monkeypatch.setattr(Shard, "run", run)
    cluster = start(a=1)
    with pytest.raises(kind, match=said):
        prepare_nodes(work, Display())  # type: ignore[arg-type]
    assert cluster.cancelled == ["run on a by 1 1"]


def test_a_crash_beside_any_shard_names_no_sample(start: Start, work: Preparation) -> None:
    cluster = start(a=1)

    def look(work: Preparation) -> Any:
        raise WorkerCrashedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "_look", cluster.remote("look", look))
        with pytest.raises(DataError, match=r"a decoder crashed it \(WorkerCrashedError\)"):
            prepare_nodes(work, Display())  # type: ignore[arg-type]
