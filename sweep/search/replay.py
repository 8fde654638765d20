"""Replay of a search: from the journal alone, ask each proposal again and compare.

The journal is a log of everything that was asked and told, so the state of the study when a proposal was asked is the
log up to that moment. Exact for every sampler of :mod:`sweep.search.samplers` under the version of Optuna on record
(for the Gaussian process and CMA-ES: also of torch, scipy and cmaes, and on a machine that computes alike). Proposals
that were moved from a study with another space cannot be asked again: their study is gone."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial, Trial, TrialState

from sweep.plan.configurations import Plan, Study
from sweep.search.journal import PROPOSAL, damage_told
from sweep.search.samplers import build_sampler, suggest


@dataclass(frozen=True)
class Mismatch:
    """A proposal that came out otherwise. recorded, again: name -> value, as Optuna holds it."""

    number: int
    recorded: dict[str, Any]
    again: dict[str, Any]
    optuna: str
    """Version under which it was proposed."""


@dataclass
class StudyReplay:
    """The outcome of asking the proposals of one study again."""

    study: str
    asked: int = 0
    skipped: int = 0
    """Proposals that were moved from a study with another space."""
    mismatches: list[Mismatch] = field(default_factory=list)


class _Tape(BaseJournalBackend):
    """A journal that is played up to a position; what is written to it is dropped."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries, self.position = entries, 0

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        yield from self.entries[log_number_from : self.position]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Asking again leaves nothing."""


def replay_search(plan: Plan, journal: Path) -> list[StudyReplay]:
    """Ask every proposal of every study of a sweep again. Raises FileNotFoundError where there is no journal,
    StoreError where it is damaged."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lines = journal.read_bytes().splitlines(keepends=True)
    with damage_told(journal):
        entries = [json.loads(line) for line in lines if line.endswith(b"\n")]
        recorded = JournalStorage(_full_tape(entries))
        names = optuna.get_all_study_names(recorded)
        return [_replay(study, recorded, entries) for study in plan.searches if study.name in names]


def _full_tape(entries: list[dict[str, Any]]) -> _Tape:
    tape = _Tape(entries)
    tape.position = len(entries)
    return tape


def _replay(study: Study, recorded: JournalStorage, entries: list[dict[str, Any]]) -> StudyReplay:
    tape = _Tape(entries)
    storage, found = JournalStorage(tape), StudyReplay(study.name)
    known = optuna.load_study(study_name=study.name, storage=recorded)
    trials = {trial._trial_id: trial for trial in known.get_trials(deepcopy=False)}
    for position, trial in _sampling_positions(entries, trials):
        how = trial.user_attrs.get(PROPOSAL, {})
        if "sampler" not in how:
            found.skipped += 1
            continue
        tape.position = position
        again = _ask_again(study, storage, trial, how)
        found.asked += 1
        if again != trial.params:
            found.mismatches.append(Mismatch(trial.number, trial.params, again, how["optuna"]))
    return found


def _sampling_positions(
    entries: list[dict[str, Any]], trials: dict[int, FrozenTrial]
) -> Iterator[tuple[int, FrozenTrial]]:
    """Yield each of ``trials`` with the length of the journal when it was about to be sampled."""
    created = -1
    for position, entry in enumerate(entries, start=1):
        operation, state = entry["op_code"], entry.get("state", TrialState.RUNNING)
        created += operation == JournalOperation.CREATE_TRIAL
        # One whose values were given waits until it is asked for.
        begun = operation == JournalOperation.SET_TRIAL_STATE_VALUES and state == TrialState.RUNNING
        if begun and entry["trial_id"] in trials:
            yield position, trials[entry["trial_id"]]
        elif operation == JournalOperation.CREATE_TRIAL and created in trials and state != TrialState.WAITING:
            yield position, trials[created]


def _ask_again(study: Study, storage: JournalStorage, trial: FrozenTrial, how: dict[str, Any]) -> dict[str, Any]:
    assert study.sweep.search is not None
    spec = study.sweep.search.model_copy(update={"configurations": how["configurations"]})
    replica = optuna.load_study(
        study_name=study.name, storage=storage, sampler=build_sampler(spec, study.space, trial.number)
    )
    again = Trial(replica, trial._trial_id)
    study.space.propose(lambda name, found: suggest(again, name, found))
    return again.params
