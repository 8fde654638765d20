"""The display of a preparation."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.binary_files_dataset import shelf, write_shelf

from data.prepared.cache.folder import CacheFolder
from sweep.engine import prepare_display
from sweep.engine.prepare_display import PreparationDisplay, _duration


def test_the_display_knows_rate_and_time_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(prepare_display.time, "monotonic", lambda: now[0])
    # Of another test's cache of the same name the display would say what has changed since.
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    out = io.StringIO()
    work = shelf(write_shelf(tmp_path / "shelf"))
    with PreparationDisplay(Console(file=out, width=160), work) as display:
        now[0] += 100  # lists are read
        display.expect(40)
        now[0] += 4
        display.advance(0)  # processes have started
        now[0] += 10
        display.advance(5)
        now[0] += 20
        display.advance(10)
        now[0] += 6
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


def test_in_a_log_a_line_comes_now_and_then_and_none_where_all_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(prepare_display.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    out, work = io.StringIO(), shelf(write_shelf(tmp_path / "shelf"))
    with PreparationDisplay(Console(file=out, width=160), work) as display:
        display.expect(40)
        for _ in range(3):
            now[0] += 15
            display.advance(5)
            assert not display._live.is_started
    assert out.getvalue().splitlines()[1:] == [
        "shelf (short): 10 of 40 samples prepared, 0.333 a second, 2 min left",
        "shelf (short): 15 of 40 samples prepared, 0.333 a second, 45 s",
    ]
    out = io.StringIO()
    with PreparationDisplay(Console(file=out, width=160), work) as display:
        display.expect(0)
    assert out.getvalue() == "shelf (short): all 52 samples are there\n"


def test_on_a_terminal_a_bar_is_live_while_there_is_something_to_decode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(prepare_display.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    work = shelf(write_shelf(tmp_path / "shelf"))
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    for total, live in [(0, False), (8, True)]:
        with PreparationDisplay(console, work) as display:
            display.expect(total)
            assert display._live.is_started is live
            now[0] += 30
            display.advance(4)
            assert display._total == total
        assert not display._live.is_started
    out = io.StringIO()
    Console(file=out, width=120).print(display._render())
    said, bar = out.getvalue().splitlines()
    assert said == "shelf (short): 4 of 8 samples prepared, 0.133 a second, 30 s left"
    assert len(bar.strip()) >= 19  # half of forty


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5340, "89 min"), (5400, "1.5 h")]
)
def test_a_duration_is_told_in_a_unit_of_its_size(seconds: float, said: str) -> None:
    assert _duration(seconds) == said
