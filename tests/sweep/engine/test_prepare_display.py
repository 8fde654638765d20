"""The display of a preparation."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.binary_files_dataset import shelf, write_shelf

from data.prepared.cache.folder import CacheFolder
from sweep.engine import prepare_display
from sweep.engine.prepare_display import PreparationDisplay


def test_the_display_knows_rate_and_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(prepare_display.time, "monotonic", lambda: now[0])
    # Of another test's cache of the same name the display would say what has changed since.
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    out = io.StringIO()
    work = shelf(write_shelf(tmp_path / "shelf"))
    with PreparationDisplay(Console(file=out, width=160), work) as display:
        display.expect(40)
        now[0] += 10
        display.advance(5)
        now[0] += 20
        display.advance(10)
        now[0] += 10
        display.advance(25)
    assert out.getvalue().splitlines() == [
        "shelf (short): preparing 40 of 52 samples",
        "shelf (short): 15 of 40 samples prepared, 0.5 a second, 50 s left",
        "shelf (short): 40 of 40 samples prepared, 1 a second, 40 s",
    ]


def test_caches_of_an_earlier_version_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    out, work = io.StringIO(), shelf(write_shelf(tmp_path / "shelf"))
    content = work.content.model_copy(update={"layout": "1"})
    CacheFolder("shelf-short-old").finish(work.ending([]).model_copy(update={"content": content, "key": "old"}))
    with PreparationDisplay(Console(file=out, width=160), work) as display:
        display.expect(0)
    place = tmp_path / "caches"
    assert out.getvalue().splitlines() == [
        "shelf (short): all 52 samples are there; changed since the cache old: layout",
        f"shelf (short): caches of an earlier version, which may be deleted from {place}: shelf-short-old",
    ]
