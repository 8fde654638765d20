"""Several processes decode what one would."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pytest
from support.binary_files_dataset import CountingWatcher, contents, shelf
from support.freed_memory import has_glibc, in_child
from support.worker_processes import IMPORTED

from data.base import DataError
from data.prepared.cache import pool
from data.prepared.cache.decoding import prepare
from data.prepared.cache.pool import pool_runner


@pytest.fixture(autouse=True)
def _one_fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes first starts the process that all others begin with, too."""
    monkeypatch.setattr(pool, "IMPORTED", IMPORTED)


def test_several_processes_write_the_same_bytes_as_one(root: Path, caches: Path) -> None:
    work, told = shelf(root), CountingWatcher()
    prepare(work, pool_runner(2), told)
    assert told.done == 52
    several = contents(caches)
    shutil.rmtree(caches)
    prepare(work)
    assert contents(caches) == several


def test_several_processes_have_nothing_to_do_where_only_the_list_has_changed() -> None:
    assert list(pool_runner(2)([], CountingWatcher().advance)) == []


def test_a_decoder_that_crashes_is_an_error_that_names_samples(root: Path) -> None:
    (root / "validation/002_0.bin").write_bytes(b"crash")
    with pytest.raises(DataError, match=r"a decoder crashed it, .*validation/000_0 to validation/005_1.*run again"):
        prepare(shelf(root), pool_runner(2))


@pytest.mark.parametrize(
    ("started", "lost", "left"), [(0, EOFError("unexpected EOF"), 52), (2, ConnectionRefusedError(), 36)]
)
def test_a_killed_process_that_starts_the_others_loses_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, started: int, lost: Exception, left: int
) -> None:
    submitted = list[object]()

    def submit(self: ProcessPoolExecutor, work: Callable[..., object], *arguments: object) -> Future[object]:
        if len(submitted) == started:
            raise lost
        submitted.append(work)
        done = Future[object]()
        done.set_result(work(*arguments))
        return done

    with monkeypatch.context() as patch:
        patch.setattr(ProcessPoolExecutor, "submit", submit)
        with pytest.raises(DataError, match=r"what starts it was killed \(out of memory\?\); .* run again to go on$"):
            prepare(shelf(root), pool_runner(2))
    told = CountingWatcher()
    prepare(shelf(root), watcher=told)
    assert told.done == left


@pytest.mark.skipif(not has_glibc(), reason="other C libraries have no such settings")
def test_a_process_that_decodes_keeps_the_memory_that_it_frees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_end_with_parent", lambda: None)
    assert in_child(lambda: pool.begin_worker({}))
