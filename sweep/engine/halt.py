"""What keeps Tune from falling over the driver's own troubles, for both executors on it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

from ray import tune
from ray.tune import Stopper

from sweep import interrupts


class Unsaved:
    """Tune pickles what it is given, for a restore that nothing here relies on: there is nothing to keep."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Halt(Unsaved, Stopper):
    """Why a sweep has to end before its time: a full disk, Ctrl-C, a fault of ours. An exception in what Tune calls
    would abort it with a traceback of its own and running trials left alone, so the body of every callback stands in
    ``with halt:``, which keeps the first exception, ends the trials in order, and hands it out after."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None

    def ask(self, reason: BaseException) -> None:
        """End the sweep; the first reason counts."""
        self.reason = self.reason or reason

    def __enter__(self) -> Halt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Exception):
            self.ask(error)
            return True
        return False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.reason is not None

    def fit(self, tuner: tune.Tuner) -> None:
        """Run it to its end; raises what the sweep had to end for, KeyboardInterrupt among it."""
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's own knows only SIGINT, and not the second
        with interrupts.deferred(lambda: self.ask(KeyboardInterrupt())), self:
            tuner.fit()
        if self.reason is not None:
            raise self.reason
