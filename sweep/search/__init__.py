"""Searches with Optuna: samplers, the journal of their studies, warm start, early stopping, racing, replay.

In comes a :class:`sweep.plan.Plan` with the store of earlier results, out come configurations one by one, for the means
that they led to. Everything here can be replayed from the journal, so a decision may depend on nothing but what was
asked and told. This room trains nothing and knows no Ray. No other room writes study.journal and race.jsonl, the files
of a sweep's search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.search.early_stopping import StoppingRule
    from sweep.search.racing import Decision, Race, RaceLog
    from sweep.search.searcher import Search

__all__ = ["Decision", "Race", "RaceLog", "Search", "StoppingRule"]


def __getattr__(name: str) -> Any:
    # Racing needs no Optuna, and whoever reads its decisions does without.
    if name in ("Decision", "Race", "RaceLog"):
        from sweep.search import racing

        return getattr(racing, name)
    if name == "StoppingRule":
        from sweep.search.early_stopping import StoppingRule

        return StoppingRule
    if name == "Search":
        from sweep.search.searcher import Search

        return Search
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
