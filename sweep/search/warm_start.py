"""Warm start: a search first tries values that earlier sweeps of the same results folder found, the best first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from data.base import SPLIT_SEED
from sweep.config import ConfigError
from sweep.config.problems import nearest
from sweep.plan.configurations import Study
from sweep.plan.objectives import directions, mean_values, objectives, pareto_front
from sweep.results.tables import index_entries
from sweep.runs.records import FinalRecord, IndexEntry
from sweep.runs.store import Store
from sweep.search.samplers import as_optuna


def warm_start_values(store: Store, study: Study, names: list[str]) -> list[dict[str, Any]]:
    """Find values that earlier sweeps trained the same method with on the same dataset and split, where a search of
    ``study`` can propose them, in Optuna's form: sweep by sweep as named, in each the best first by what ``study``
    looks for, on validation data. Of a sweep that gives a label to the method, only what has the label of ``study``.

    Means over different numbers of seeds are not compared: what has fewer than others of its sweep is left out.
    Raises ConfigError where there is no such sweep."""
    found: list[dict[str, Any]] = []
    for position, name in enumerate(names):
        store.pull(name)
        entries = index_entries(store.results, name)
        if not entries:
            known = [path.parent.name for path in store.results.glob("*/index.jsonl")]
            message = f"{store.results} holds no sweep called {name!r}"
            raise ConfigError([study.sweep.problem(("search", "warm_start", position), message, nearest(name, known))])
        # What was chosen on another split has seen this one's test samples.
        wanted = {(study.method, study.dataset, study.split), (study.method, study.dataset, None)}
        own = [entry for entry in entries if (entry.method, entry.dataset, entry.split) in wanted]
        labelled = [entry for entry in own if entry.label == study.label]
        found += _ranked(store, study, labelled or own)
    return found


def _ranked(store: Store, study: Study, entries: Iterable[IndexEntry]) -> list[dict[str, Any]]:
    hashes: dict[str, dict[str, None]] = {}
    for entry in entries:
        if entry.role != "report":
            hashes.setdefault(entry.configuration, {})[entry.hash] = None
    runs = {key: [(name, store.run(name).final()) for name in names] for key, names in hashes.items()}
    done = {key: [(name, final) for name, final in ends if _finished(final)] for key, ends in runs.items()}
    most = max(map(len, done.values()), default=0)
    wanted = objectives(study.sweep)
    valued: list[tuple[list[float], dict[str, Any]]] = []
    for ends in done.values():
        means = mean_values([final for _, final in ends if final], wanted, most) if ends else None
        run = store.run(ends[0][0]).config() if means else None
        here = run is not None and run.data.get(SPLIT_SEED) == study.split
        values = study.space.values_in(run) if run and here else {}
        if means and values and study.space.complete(values):
            valued.append((means, {name: as_optuna(value) for name, value in values.items()}))
    best_first = []
    while valued:
        front = pareto_front([means for means, _ in valued], directions(wanted))
        best_first += [valued[position][1] for position in front]
        valued = [pair for position, pair in enumerate(valued) if position not in front]
    return best_first


def _finished(final: FinalRecord | None) -> bool:
    return final is not None and final.status == "done"
