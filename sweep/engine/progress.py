"""The display of a sweep while it runs: a live table on a terminal, a few lines in a log."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweep.runs.failure_texts import describe_causes, describe_failure

if TYPE_CHECKING:
    from sweep.engine.agenda import Agenda  # with Optuna behind it, which takes long to import
    from sweep.engine.tally import Tally
    from sweep.engine.tasks import Task
    from sweep.runs.records import FinalRecord

LOG_EVERY = 20.0
"""Seconds between two lines where the output is no terminal."""


class Listener(Protocol):
    """Hears of the runs that are trained, beside the display."""

    def started(self, task: Task) -> None:
        """Hear that a run is trained, or after a failure trained on."""

    def epoch(self, task: Task) -> None:
        """Hear that a run has trained on."""

    def finished(self, task: Task, final: FinalRecord) -> None:
        """Hear that a run has ended for good."""


class Progress:
    """Context manager around a sweep's execution. expected: runs in all where known, at_most: or fewer; tally: what the
    agenda counts."""

    def __init__(self, console: Console, name: str, expected: int | None, tally: Tally, at_most: bool = False) -> None:
        self._console, self._name, self._tally = console, name, tally
        self._of = f" of {'at most ' * at_most}{expected}" if expected else ""
        self._causes, self._retries = Counter[str](), Counter[str]()
        self._running: dict[str, tuple[Task, int, int, float]] = {}
        self.listeners: list[Listener] = []
        self._began = self._last_line = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        self._console.print(f"{self._name}: {self._counts()}, {time.monotonic() - self._began:.0f} s", highlight=False)

    # Events ----------------------------------------------------------------------------------------------------

    def started(self, task: Task) -> None:
        self._running[task.hash] = (task, 0, 0, float("nan"))
        for listener in self.listeners:
            listener.started(task)

    def epoch(self, task_hash: str, epoch: int, epochs: int, value: float) -> None:
        if task_hash in self._running:
            task = self._running[task_hash][0]
            self._running[task_hash] = (task, epoch, epochs, value)
            for listener in self.listeners:
                listener.epoch(task)

    def retried(self, task: Task, final: FinalRecord, retries: int) -> None:
        """Say that a run has failed, and is tried again as one of ``retries``."""
        self._running.pop(task.hash, None)
        self._retries[task.hash] += 1
        again = f"trying again ({self._retries[task.hash]} of {retries})"
        self.say(f"{describe(task)}: {describe_failure(final)}; {again}", "yellow")

    def finished(self, task: Task, final: FinalRecord) -> None:
        self._running.pop(task.hash, None)
        for listener in self.listeners:
            listener.finished(task, final)
        if final.status == "failed":
            self._causes[final.cause or "error"] += 1
        if final.status in ("failed", "diverged"):
            self.say(f"{describe(task)}: {describe_failure(final)}", "red")
        if not self._console.is_terminal and time.monotonic() - self._last_line > LOG_EVERY:
            self._last_line = time.monotonic()
            self._console.print(f"{self._name}: {self._counts()}", highlight=False)

    def stuck(self, what: str = "a run hangs and cannot be interrupted") -> None:
        """Say that this process is about to be ended, and of what."""
        if self._console.is_terminal:
            self._live.stop()
        self.say(f"{self._name}: {what}; run the same command again to go on", "red")
        self._console.file.flush()

    def say(self, line: str, style: str) -> None:
        """Print a line above the table; from any thread."""
        self._console.print(line, style=style, highlight=False, soft_wrap=True, markup=False)

    # Display ---------------------------------------------------------------------------------------------------

    def _counts(self) -> str:
        tally = self._tally
        parts = [f"{tally.total}{self._of} runs ended"]
        if tally.kept:
            parts.append(f"{tally.kept} kept from earlier")
        parts += [f"{count} {word}" for word in ("pruned", "diverged", "failed") if (count := getattr(tally, word))]
        if self._causes:
            parts[-1] += f" ({describe_causes(self._causes)})"
        return ", ".join(parts)

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 2), show_header=bool(self._running))
        for title in ("running", "seed", "epoch", "", "validation"):
            table.add_column(title, justify="left" if title == "running" else "right")
        for task, epoch, epochs, value in list(self._running.values()):
            bar = ProgressBar(total=max(epochs, 1), completed=epoch, width=20)
            shown = f"{100 * value:.1f} %" if value == value else ""
            table.add_row(describe(task, seed=False), str(task.run.seed), f"{epoch}/{epochs or '?'}", bar, shown)
        elapsed = time.monotonic() - self._began
        return Group(Text(f"{self._name}: {self._counts()}, {elapsed:.0f} s", style="bold"), table)


def describe(task: Task, seed: bool = True) -> str:
    """Return a run in words: method, varied values, dataset, seed."""
    values = ", ".join(f"{name}={value}" for name, value in task.configuration.values.items())
    words = [task.configuration.label, f"({values})" if values else "", f"on {task.run.dataset}"]
    return " ".join(filter(None, [*words, f"seed {task.run.seed}" if seed else ""]))


def end_task(agenda: Agenda, progress: Progress, task: Task, final: FinalRecord) -> None:
    """Tell agenda and display that a task has ended as ``final`` says, which its folder holds: for good, or to be tried
    again."""
    if agenda.finish(task.hash, final):
        progress.retried(task, final, agenda.plan.sweep.retries)
    else:
        progress.finished(task, final)
