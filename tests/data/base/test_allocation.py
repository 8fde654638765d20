"""Freed memory stays in the processes that are ours, and in no other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import freed_memory
from support.freed_memory import has_glibc, in_child, keeps_freed_memory

from data.base import allocation
from data.base.allocation import keep_freed_memory, keeping_variables, return_freed_memory

glibc_only = pytest.mark.skipif(not has_glibc(), reason="other C libraries have no such settings")


@glibc_only
def test_a_process_keeps_large_blocks_once_it_is_told_to() -> None:
    assert not keeps_freed_memory()
    assert in_child(lambda: keep_freed_memory({}))
    assert not keeps_freed_memory()


@glibc_only
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_who_has_set_glibcs_own_variables_has_decided(name: str) -> None:
    environment = {name: "glibc.malloc.trim_threshold=1" if name == "GLIBC_TUNABLES" else "1"}
    assert not keep_freed_memory(environment)
    assert keeping_variables(environment) == {}
    assert keeping_variables({"GLIBC_TUNABLES": "glibc.rtld.nns=1"}) != {}
    assert not keeps_freed_memory()


@glibc_only
def test_a_process_that_starts_with_the_variables_keeps_large_blocks() -> None:
    path = str(Path(freed_memory.__file__))
    program = "import runpy, sys; sys.exit(10 + runpy.run_path(sys.argv[1])['keeps_freed_memory']())"
    for variables, code in ((keeping_variables({}), 11), ({}, 10)):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        command = [sys.executable, "-I", "-S", "-c", program, path]
        assert subprocess.run(command, env=environment | variables, check=False).returncode == code


class Library:
    """glibc, which notes what it is asked for and refuses blocks larger than ``largest``."""

    def __init__(self, largest: int = 2**31) -> None:
        self.asked, self._largest = list[tuple[int, int]](), largest

    def mallopt(self, name: int, value: int) -> int:
        self.asked.append((name, value))
        return int(name != MMAP_THRESHOLD or value <= self._largest)

    def malloc_trim(self, left: int) -> int:
        self.asked.append((0, left))
        return 1


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of malloc.h
BATCH = 82 * 10**6
"""Bytes of a batch of 64 sounds of 20 s."""


@pytest.mark.parametrize(("largest", "kept"), [(2**31, 128 * 2**20), (32 * 2**20, 32 * 2**20)])
def test_older_versions_keep_the_largest_block_that_they_can(
    monkeypatch: pytest.MonkeyPatch, largest: int, kept: int
) -> None:
    library = Library(largest)
    monkeypatch.setattr(allocation, "_glibc", lambda: library)
    assert keep_freed_memory({})
    assert library.asked[-2:] == [(MMAP_THRESHOLD, kept), (TRIM_THRESHOLD, allocation.MOST_KEPT)]
    assert BATCH < allocation.LARGEST_KEPT < allocation.MOST_KEPT
    none_at_all = Library(0)
    monkeypatch.setattr(allocation, "_glibc", lambda: none_at_all)
    assert not keep_freed_memory({})


def test_processes_that_start_are_told_the_same_sizes_and_share_one_heap() -> None:
    assert keeping_variables({}) == {
        "MALLOC_MMAP_THRESHOLD_": str(128 * 2**20),
        "MALLOC_TRIM_THRESHOLD_": str(allocation.MOST_KEPT),
        "MALLOC_ARENA_MAX": "1",
    }


def test_all_that_is_free_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(allocation, "_glibc", lambda: library)
    return_freed_memory()
    assert library.asked == [(0, 0)]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_glibc", lambda: None)
    assert not keep_freed_memory({})
    return_freed_memory()
