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
        for seconds in (20, 10, 15):  # a line comes when more than twenty have gone
            now[0] += seconds
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
    # The bar is taken off the terminal before the last line.
    before, line, _ = console.file.getvalue().rpartition("shelf (short): 4 of 8 samples prepared")  # type: ignore[attr-defined]
    assert line
    assert before.endswith("\x1b[1A\x1b[2K")
    assert "s left" not in before.rpartition("\x1b[2K")[2]
    assert shown(display) == ("shelf (short): 4 of 8 samples prepared, 0.133 a second, 30 s left", 20)


def shown(display: PreparationDisplay) -> tuple[str, int]:
    """What stands on the terminal, and the length of the bar."""
    out = io.StringIO()
    Console(file=out, width=120).print(display._render())
    said, bar = out.getvalue().split("\n")[:2]
    return said, bar.count("━")


def test_the_bar_grows_to_forty_and_the_time_left_is_told_between_the_first_and_the_last_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(prepare_display.time, "monotonic", lambda: now[0])
    display = PreparationDisplay(Console(file=io.StringIO()), shelf(write_shelf(tmp_path / "shelf")))
    assert shown(display) == ("shelf (short): 0 of 0 samples prepared, 0 a second", 0)
    display._total = 2
    now[0] += 0.5
    assert shown(display) == ("shelf (short): 0 of 2 samples prepared, 0 a second", 0)
    display.advance(1)
    assert shown(display) == ("shelf (short): 1 of 2 samples prepared, 2 a second, 0 s left", 20)
    display.advance(1)
    assert shown(display) == ("shelf (short): 2 of 2 samples prepared, 4 a second", 40)
    display._done = display._total = 1
    assert shown(display)[1] == 40


def test_lines_are_neither_wrapped_nor_taken_for_markup(tmp_path: Path) -> None:
    out = io.StringIO()
    display = PreparationDisplay(Console(file=out, width=20), shelf(write_shelf(tmp_path / "shelf")))
    display._say("what was changed, [bold] or not, in a line of more than twenty letters")
    assert out.getvalue() == "what was changed, [bold] or not, in a line of more than twenty letters\n"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5340, "89 min"), (5400, "1.5 h")]
)
def test_a_duration_is_told_in_a_unit_of_its_size(seconds: float, said: str) -> None:
    assert _duration(seconds) == said
