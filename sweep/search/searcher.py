"""A thin searcher around Optuna's ask and tell.

One Optuna trial is one configuration; it is told once, the means over the sweep's seeds. A proposal that repeats an
earlier configuration costs nothing: it is answered from that one. The study only remembers proposals: what they led to
is read from the run folders, so a study and a store can never disagree."""

from __future__ import annotations

import warnings
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from sweep.config import ConfigError
from sweep.plan.configurations import Configuration, Plan, Study
from sweep.plan.objectives import mean_values, objectives
from sweep.runs.canonical_text import canonical
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store
from sweep.search.journal import AGAIN, PROPOSAL, damage_told, open_storage, open_study
from sweep.search.proposals import ListProposer, Nothing, Proposer
from sweep.search.samplers import as_optuna, build_sampler, from_optuna, sampler_seed, suggest
from sweep.search.warm_start import warm_start_values
from sweep.storage.files import StoreError

REPEATS = 100
"""Proposals in a row that repeat earlier ones, after which a space counts as exhausted."""
_WARM_START = "warm_start"
_BATCH = "batch"


def proposers(plan: Plan, store: Store) -> list[Proposer]:
    """List the proposers of a sweep's configurations: for each study those that it lists, and a search over its space
    where it has one. Raises ConfigError, StoreError."""
    listed: list[Proposer] = [ListProposer(study.configurations) for study in plan.studies]
    journal = store.sweep(plan.sweep.name) / "study.journal"
    storage = open_storage(journal)
    with damage_told(journal):
        return listed + [Search(study, storage, store) for study in plan.searches]


@dataclass(frozen=True)
class _Verdict:
    """The answer that Optuna is told of a configuration. steps: values on the way, of one that did not get all its
    seeds or epochs."""

    state: TrialState
    values: list[float] | None = None
    steps: dict[int, float] = field(default_factory=dict)


class Search:
    """The configurations of one study, proposed by Optuna: see ``sweep.search.proposals.Proposer``.

    Each trial carries how it was proposed: the sampler with its seed, the version of Optuna, and which earlier trials
    were under way; all others had been told."""

    def __init__(self, study: Study, storage: BaseStorage, store: Store) -> None:
        """Raises ConfigError where there is no sweep to start from."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        assert study.sweep.search is not None
        self._study, self._spec, self._space = study, study.sweep.search, study.space
        self._objectives = objectives(study.sweep)
        self._optuna = open_study(storage, study)
        self._storage = storage
        trials = self._optuna.get_trials(deepcopy=False)
        self._recorded = deque((trial.number, trial.params) for trial in trials)
        self._ids = [trial._trial_id for trial in trials]
        self._under_way = [trial.number for trial in trials if not trial.state.is_finished()]
        self._first = deque(self._wanted(store))
        self._open: dict[str, list[int]] = {}
        self._told: dict[str, _Verdict] = {}
        self._repeats = 0
        if self._spec.batch:
            # A batch that an interrupted driver began is asked to its end before any of it is told.
            first, size = self._optuna.user_attrs.get(_BATCH, (0, 0))
            self._ask(first + size - len(self._ids))

    def _wanted(self, store: Store) -> list[dict[str, Any]]:
        """Collect what is tried before anything is proposed, in Optuna's form, but for what has been: what a study
        before this one had proposed, the defaults, the points, the best of earlier sweeps."""
        names = list(self._spec.warm_start)
        warm = self._optuna.user_attrs.get(_WARM_START, {"sweeps": [], "values": []})
        found = warm_start_values(store, self._study, names)
        if warm["sweeps"] != names:
            warm = {"sweeps": names, "values": found[: self._spec.configurations // 2]}
            self._optuna.set_user_attr(_WARM_START, warm)
        again = self._optuna.user_attrs[AGAIN]
        held = [{name: as_optuna(value) for name, value in values.items()} for values in self._study.first]
        wanted = {canonical(values): values for values in [*again, *held, *warm["values"]]}
        for _, params in self._recorded:
            wanted.pop(canonical(params), None)
        return list(wanted.values())

    # Proposals -------------------------------------------------------------------------------------------------

    def propose(self, new: bool = True) -> Configuration | Nothing:
        while True:
            while self._recorded:
                if (configuration := self._configuration(*self._recorded.popleft())) is not None:
                    return configuration
            if not new or self.remaining() == 0:
                return Nothing.LEFT
            if self._spec.batch:
                if self._open:
                    return Nothing.NOW
                size = min(self._spec.batch, self.remaining())
                self._optuna.set_user_attr(_BATCH, [len(self._ids), size])
                self._ask(size)
            else:
                self._ask(1)

    def remaining(self) -> int:
        known = len(self._open) + len(self._told)
        return 0 if self._repeats >= REPEATS else max(0, self._spec.configurations - known)

    def _ask(self, count: int) -> None:
        """Put ``count`` more proposals on record."""
        for _ in range(count):
            number = len(self._ids)
            self._optuna.sampler = build_sampler(self._spec, self._space, number)
            if self._first:
                self._optuna.enqueue_trial(self._first.popleft())
            try:
                trial = self._optuna.ask()
            except KeyError as error:
                what = f"study {self._study.name} was deleted by another program, and nothing can be proposed in it"
                raise StoreError(what) from error
            self._space.propose(lambda name, found, trial=trial: suggest(trial, name, found))  # type: ignore[misc]
            how = {
                "sampler": type(self._optuna.sampler).__name__,
                "seed": sampler_seed(self._spec, number),
                "optuna": optuna.__version__,
                "configurations": self._spec.configurations,
                "under_way": list(self._under_way),
            }
            trial.set_user_attr(PROPOSAL, how)
            self._ids.append(trial._trial_id)
            self._under_way.append(number)
            self._recorded.append((number, trial.params))

    def _configuration(self, number: int, params: dict[str, Any]) -> Configuration | None:
        """Build the configuration of a proposal; None where it repeats one, which then answers for both."""
        self._repeats += 1
        try:
            values = {name: from_optuna(self._space[name], held) for name, held in params.items()}
            configuration = self._study.configuration(values)
        except ConfigError:  # values that each are legal but do not go together: nothing can be trained there
            self._tell(number, _Verdict(TrialState.FAIL))
            return None
        key = configuration.key
        if key in self._told:
            self._tell(number, self._told[key])
            return None
        if key in self._open:
            self._open[key].append(number)
            return None
        self._repeats = 0
        self._open[key] = [number]
        return replace(configuration, number=number)

    # Answers ---------------------------------------------------------------------------------------------------

    def tell(self, configuration: Configuration, outcomes: dict[int, FinalRecord]) -> None:
        verdict = self._told[configuration.key] = self._verdict(outcomes)
        for number in self._open.pop(configuration.key):
            self._tell(number, verdict)

    def _verdict(self, outcomes: dict[int, FinalRecord]) -> _Verdict:
        seeds, ends = len(self._study.sweep.seeds), list(outcomes.values())
        if any(final.status == "pruned" for final in ends):
            # In a race a step is a number of seeds, and this one has not finished its first.
            metric = f"validation_{self._study.sweep.metric}"
            steps = {} if self._spec.racing else {final.epochs_trained: final.metrics[metric] for final in ends}
            return _Verdict(TrialState.PRUNED, steps=steps)
        if len(ends) < seeds and all(final.status == "done" for final in ends):
            on_the_way = {n: mean_values(ends[:n], self._objectives, n) for n in range(1, len(ends) + 1)}
            return _Verdict(TrialState.PRUNED, steps={n: means[0] for n, means in on_the_way.items() if means})
        means = mean_values(ends, self._objectives, seeds)
        return _Verdict(TrialState.FAIL) if means is None else _Verdict(TrialState.COMPLETE, means)

    def _tell(self, number: int, verdict: _Verdict) -> None:
        """Tell Optuna, unless an earlier driver has."""
        if number in self._under_way:
            if not self._told_to_optuna(number, verdict):
                what = f"trial {number} of study {self._study.name} was told or deleted by another program"
                warnings.warn(f"{what}: the search goes on, but later proposals may follow it", stacklevel=2)
            self._under_way.remove(number)

    def _told_to_optuna(self, number: int, verdict: _Verdict) -> bool:
        """Tell Optuna; False where another program has told or deleted the trial."""
        try:
            if self._storage.get_trial(self._ids[number]).state.is_finished():
                return False
            for step, value in verdict.steps.items():
                self._storage.set_trial_intermediate_value(self._ids[number], step, value)
            self._optuna.tell(number, verdict.values, state=verdict.state)
        except (UpdateFinishedTrialError, KeyError):
            return False
        return True
