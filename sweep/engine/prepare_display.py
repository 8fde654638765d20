"""The display of a preparation of media: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from data.prepared.cache.decoding import Watcher
from data.prepared.cache.preparation import Preparation
from sweep.engine.progress import LOG_EVERY


def preparation_name(work: Preparation) -> str:
    """Return the dataset and the profile that are prepared, in words."""
    return f"{work.dataset} ({work.profile})"


class PreparationDisplay(Watcher):
    """Context manager around the preparation of a dataset: a line when it is known what is to be decoded and one at
    the end, in between a bar on a terminal, a line now and then in a log. Nothing where all is there."""

    def __init__(self, console: Console, work: Preparation) -> None:
        self._console, self._work = console, work
        self._done = self._total = 0
        self._began = self._decoding = self._last_line = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> PreparationDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live.is_started:
            self._live.stop()
        if self._total:
            seconds = time.monotonic() - self._began
            self._say(f"{preparation_name(self._work)}: {self._counts(seconds)}, {seconds:.0f} s")

    def expect(self, total: int) -> None:
        self._total = total
        self._began = self._decoding = self._last_line = time.monotonic()
        work = self._work
        near = list(work.folder.siblings(work.dataset, work.profile))
        changed = near[0].content.changes(work.content) if near else []
        why = f"; changed since the cache {near[0].key}: {', '.join(changed)}" if changed else ""
        what = f"preparing {total} of {work.size} samples" if total else f"all {work.size} samples are there"
        self._say(f"{preparation_name(work)}: {what}{why}")
        if old := [meta.key for meta in near if meta.content.layout != work.content.layout]:
            folders = ", ".join(f"{work.dataset}-{work.profile}-{key}" for key in old)
            where = work.folder.path.parent
            self._say(
                f"{preparation_name(work)}: caches of an earlier version, which may be deleted from {where}: {folders}"
            )
        if total and self._console.is_terminal:
            self._live.start()

    def advance(self, samples: int) -> None:
        if not samples:
            self._decoding = time.monotonic()
            return
        self._done += samples
        if not self._console.is_terminal and time.monotonic() - self._last_line > LOG_EVERY:
            self._last_line = time.monotonic()
            self._say(f"{preparation_name(self._work)}: {self._counts_and_rest()}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _counts(self, seconds: float) -> str:
        rate = self._done / max(seconds, 1e-9)
        return f"{self._done} of {self._total} samples prepared, {rate:.3g} a second"

    def _counts_and_rest(self) -> str:
        seconds, ahead = time.monotonic() - self._decoding, ""
        if 0 < self._done < self._total:
            ahead = f", {_duration((self._total - self._done) * seconds / self._done)} left"
        return self._counts(seconds) + ahead

    def _render(self) -> Group:
        bar = ProgressBar(total=max(self._total, 1), completed=self._done, width=40)
        return Group(Text(f"{preparation_name(self._work)}: {self._counts_and_rest()}", style="bold"), bar)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
