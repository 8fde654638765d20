"""Whose memory it is, and how long runs wait for it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

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


def test_the_threshold_is_that_of_rays_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for written, share in ((None, 0.95), ("", 0.95), ("0.5", 0.5)):
        monkeypatch.delenv(memory.THRESHOLD_VARIABLE, raising=False)
        if written is not None:
            monkeypatch.setenv(memory.THRESHOLD_VARIABLE, written)
        assert memory.threshold() == share


def test_the_machine_counts_where_it_has_less_left_than_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=300, total=1000))
    for container, share in ((0.6, 0.7), (0.8, 0.8)):
        monkeypatch.setattr(memory, "_used_share_of_container", lambda folder, found=container: found)
        assert memory.used_share() == share


def test_who_holds_most_is_named_first_and_whom_one_may_not_ask_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def process(number: int, name: str, gib: float | None) -> SimpleNamespace:
        held = None if gib is None else SimpleNamespace(rss=gib * 2**30)
        return SimpleNamespace(pid=number, info={"name": name, "memory_info": held})

    found = [process(1, "a", 0.5), process(2, "b", 3.0), process(3, "c", None), process(4, "d", 1.26)]
    monkeypatch.setattr(psutil, "process_iter", lambda keys: found)
    assert memory.holders_text() == "b (process 2) 3.0 GiB, d (process 4) 1.3 GiB, a (process 1) 0.5 GiB"
    assert memory.holders_text(1) == "b (process 2) 3.0 GiB"


def test_what_is_said_of_short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "used_share", lambda: 0.97)
    monkeypatch.setattr(memory, "holders_text", lambda: "a (process 1) 3.0 GiB")
    monkeypatch.setenv(memory.THRESHOLD_VARIABLE, "0.9")
    said: list[str] = []
    assert MemoryPatience(said.append, clock=lambda: 0.0).holds_back()
    assert said == [
        "memory is short: 97% in use, most of it by a (process 1) 3.0 GiB; no run is started before it is below 90%, "
        "for up to 5 minutes"
    ]
