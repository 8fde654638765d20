"""Whose memory it is, and how long runs wait for it."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from sweep.engine import memory
from sweep.engine.memory import WAIT, MemoryPatience


@pytest.mark.parametrize(
    ("folder", "limit", "used", "unlimited", "pages"),
    [
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "9223372036854771712", "total_inactive_file"),
        ("", "memory.max", "memory.current", "max", "inactive_file"),
    ],
    ids=["version 1", "version 2"],
)
def test_the_limit_of_a_container_counts_without_pages_that_are_given_back(
    tmp_path: Path, folder: str, limit: str, used: str, unlimited: str, pages: str
) -> None:
    assert memory._used_share_of_container(tmp_path) == 0.0
    group = tmp_path / folder
    group.mkdir(exist_ok=True)
    (group / used).write_text("700\n")
    (group / "memory.stat").write_text(f"anon 500\n{pages} 100\n")
    for written, share in (("1000", 0.6), (unlimited, 0.0), ("damaged", 0.0)):
        (group / limit).write_text(f"{written}\n")
        assert memory._used_share_of_container(tmp_path) == share


def test_of_both_versions_of_control_groups_the_one_with_less_left_counts(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    for folder, files in (
        ("", {"memory.max": 1000, "memory.current": 300, "memory.stat": "inactive_file 0"}),
        ("memory", {"memory.limit_in_bytes": 800, "memory.usage_in_bytes": 600, "memory.stat": "cache 5"}),
    ):
        for name, content in files.items():
            (tmp_path / folder / name).write_text(f"{content}\n")
    assert memory._used_share_of_container(tmp_path) == 0.75


def test_memory_is_short_above_the_threshold_of_rays_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    used = memory.used_share()
    assert 0.0 < used < 1.0
    monkeypatch.setattr(memory, "used_share", lambda: used)
    for threshold, short in ((used / 2, True), (used, False)):
        monkeypatch.setenv(memory.THRESHOLD_VARIABLE, str(threshold))
        assert memory.is_short() is short


def test_the_largest_processes_are_named() -> None:
    me = psutil.Process()
    said = memory.holders_text(count=10**6)
    assert f"(process {os.getpid()}) {me.memory_info().rss / memory.GIB:.1f} GiB" in said
    assert len(memory.holders_text(count=2).split(", ")) == 2


def test_runs_are_held_back_while_memory_is_short_for_so_long_and_that_is_said_once() -> None:
    said: list[str] = []
    now, short = 0.0, False
    patience = MemoryPatience(said.append, lambda: short, lambda: now)
    assert not patience.holds_back()
    assert said == []
    for _ in range(2):
        short = True
        assert patience.holds_back()
        now += WAIT - 1
        assert patience.holds_back()
        now += 1
        assert not patience.holds_back()
        short = False
        assert not patience.holds_back()
    assert len(said) == 2
    assert "no run is started before it is below" in said[0]
    assert "(process " in said[0]
