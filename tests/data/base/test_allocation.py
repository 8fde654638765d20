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


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_glibc", lambda: None)
    assert not keep_freed_memory({})
    return_freed_memory()
