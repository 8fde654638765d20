"""Replay: train a run again from its record alone, and compare every number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import data
from sweep.config import ConfigError, MethodSpec, ResourcesSpec, SchedulerSpec, Sweep
from sweep.config.problems import nearest
from sweep.engine.agenda import Agenda
from sweep.engine.execute import Execution, execute_agenda
from sweep.engine.on_ray.session import RaySession
from sweep.engine.progress import Progress
from sweep.plan.configurations import Configuration, Plan
from sweep.runs.code_changes import changed_code
from sweep.runs.environment import record_environment
from sweep.runs.identity import run_hash
from sweep.runs.later_options import with_later
from sweep.runs.records import FinalRecord, Run, TestRecord
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.search.proposals import ListProposer

TOLERANCE = 1e-6
REPLAYED = ("done", "pruned")


class ReplayError(ConfigError):
    """A run cannot be trained again; the message says why."""


@dataclass(frozen=True)
class Number:
    """A recorded number and what came out this time; None where one of the two does not exist."""

    name: str
    recorded: float | None
    again: float | None

    @property
    def same(self) -> bool:
        """Tell whether both are within 1e-6; NaN equals NaN."""
        if self.recorded is None or self.again is None:
            return self.recorded is self.again
        both_nan = math.isnan(self.recorded) and math.isnan(self.again)
        return both_nan or abs(self.recorded - self.again) <= TOLERANCE


@dataclass(frozen=True)
class Replay:
    """Outcome of a replay. changed: what differs between then and now (code, versions, processor), in words."""

    hash: str
    run: Run
    numbers: list[Number]
    changed: list[str]

    @property
    def same(self) -> bool:
        return all(number.same for number in self.numbers)


def find_run(store: Store, start: str) -> str:
    """Return the run whose hash begins with ``start``. Raises ReplayError where there is none, or more than one."""
    known = sorted(path.name for path in store.results.glob("runs/*"))
    found = [name for name in known if name.startswith(start)]
    if len(found) == 1:
        return found[0]
    why = f"{len(found)} runs begin with it" if found else nearest(start, known) or f"there are {len(known)} runs"
    raise ReplayError(f"no single run {start!r} in {store}: {why}; python -m sweep show NAME lists runs")


def replay(
    store: Store, hashed: str, scratch: Path, paths: Mapping[str, Any], local: bool, ray: RaySession, console: Console
) -> Replay:
    """Train a run of ``store`` again in the folder ``scratch``, with as many workers as it had.

    paths: options of its dataset that say where the data lies, where it has moved. local: in this process, without Ray
    (one worker). Raises ReplayError where the run has not ended well or its data is not what it was."""
    folder = store.run(hashed)
    recorded, run = folder.final(), folder.config()
    if run is None or recorded is None or recorded.status not in REPLAYED:
        status = recorded.status if recorded else "not ended"
        raise ReplayError(f"run {hashed} is {status}: only a run that is done or was stopped early can be replayed")
    run = _with_data_at(run, paths)
    again = Store(scratch)
    agenda = _ReplayAgenda(run, recorded, again)
    try:
        with Progress(console, f"replay of {hashed}", 1, agenda.tally) as progress:
            execute_agenda(agenda, progress, Execution(local=local), ray)
    finally:
        agenda.abandon()
    result = again.run(agenda.hash)
    return Replay(hashed, run, list(_compare(folder, result)), list(_changes(folder, run)))


class _ReplayAgenda(Agenda):
    """Hands out one run, and stops it early where it was."""

    def __init__(self, run: Run, recorded: FinalRecord, store: Store) -> None:
        pruned = recorded.status == "pruned"
        sweep = Sweep(
            name="replay",
            methods=[MethodSpec(method=run.method, label=run.method)],
            datasets=[run.dataset],
            seeds=[run.seed],
            resources=ResourcesSpec(workers=run.workers),
            scheduler=SchedulerSpec(name="median") if pruned else None,
            retries=0,
        )
        configuration = Configuration(run.method, {}, run)
        plan = Plan(sweep, studies=[], references=[], searched_references=[])
        super().__init__(plan, store, [ListProposer([configuration])], lambda entry: None, lambda *ended: None)
        self.hash = run_hash(run)
        self._last = recorded.epochs_trained if pruned else None

    def should_stop(self, task_hash: str, epoch: int, value: float) -> bool:
        return epoch == self._last


def _with_data_at(run: Run, paths: Mapping[str, Any]) -> Run:
    """Return the run with its data where it lies now. Raises ReplayError where it is missing or other data."""
    source = data.get(run.dataset)
    if wrong := [name for name in paths if name not in source.paths]:
        raise ReplayError(
            f"data.{wrong[0]} is part of what the run is, only where the data lies can be told otherwise"
            + (f": {', '.join(sorted(source.paths))}" if source.paths else "")
        )
    run = run.model_copy(update={"data": {**run.data, **paths}})
    found = source.fingerprint(source.Options.model_validate(with_later(source.Options, run.data)))
    if found != run.fingerprint:
        raise ReplayError(f"{run.dataset} is not the data that the run was trained on (its fingerprint has changed)")
    return run


def _compare(folder: RunFolder, result: RunFolder) -> Iterator[Number]:
    """Yield every recorded metric at the two ends: validation, and test where the run got so far. Those that later
    versions have added are nothing to compare with."""
    recorded, again = _metrics(folder), _metrics(result)
    for name in recorded:
        yield Number(name, recorded.get(name), again.get(name))


def _metrics(folder: RunFolder) -> dict[str, float]:
    final, test = folder.final(), folder.path / "test.json"
    if final is None:
        return {}
    counted = {"epochs_trained": float(final.epochs_trained), "selected_epoch": float(final.selected_epoch or 0)}
    tested = TestRecord.model_validate_json(test.read_bytes()).metrics if test.exists() else {}
    return counted | final.metrics | tested


def _changes(folder: RunFolder, run: Run) -> Iterator[str]:
    """Yield in words what differs from when the run was trained."""
    environment = folder.environment()
    for changed in changed_code(run, environment):
        yield f"{changed} changed"
    if environment is None:
        return
    now = record_environment(run.workers)
    for package, version in environment.packages.items():
        if now.packages.get(package) != version:
            yield f"{package} was {version}, is {now.packages.get(package, 'missing')}"
    for name in ("python", "processor"):
        then, today = getattr(environment, name), getattr(now, name)
        if then != today:
            yield f"{name} was {then}, is {today}"
