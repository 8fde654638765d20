"""Further seeds of a configuration: the stopping rule on its first seed, and the race after each."""

from __future__ import annotations

from collections.abc import Sequence

import methods
from methods.base.phase import selectable_epochs
from sweep.config import Sweep
from sweep.engine.tasks import Outcomes, StudyKey, Task, is_candidate, study_of
from sweep.plan.configurations import Configuration
from sweep.plan.objectives import DIRECTIONS, objective_value, objectives
from sweep.runs.identity import choices_hash
from sweep.runs.records import Run
from sweep.runs.run_folder import RunFolder
from sweep.search.early_stopping import StoppingRule
from sweep.search.racing import Decision, Race, RaceLog


class FurtherSeeds:
    """Decides seed by seed how much of a configuration is trained, with one rule and one race a study: values of other
    datasets or methods are nothing to compare with.

    race_log: the decisions of the race, where the sweep has its searched configurations race."""

    def __init__(self, sweep: Sweep, race_log: RaceLog | None) -> None:
        self._sweep, self._race_log = sweep, race_log
        self._objectives = objectives(sweep)
        self._rules: dict[StudyKey, StoppingRule] = {}
        self._races: dict[StudyKey, Race] = {}

    # The stopping rule -----------------------------------------------------------------------------------------

    def stoppable(self, configuration: Configuration) -> bool:
        """Tell whether the stopping rule looks at the first seed of a configuration."""
        return self._sweep.scheduler is not None and is_candidate(configuration)

    def should_stop(self, task: Task, epoch: int, validated: float) -> bool:
        """Take the validation value of a run under way after a selectable ``epoch``, counted among these; True where
        the stopping rule ends it."""
        return task.stoppable and self._rule(task).observe(choices_hash(task.run), epoch, validated)

    def learn(self, task: Task, folder: RunFolder, ended: bool) -> None:
        """Let the stopping rule know of what an earlier driver trained of a run."""
        if not task.stoppable:
            return
        records = folder.epochs()
        metric = f"validation_{task.run.metric}"
        judged = ((r.selectable, r.metrics[metric]) for r in records if r.selectable is not None)
        self._rule(task).learn(choices_hash(task.run), judged)
        if ended:
            self._rule(task).close(choices_hash(task.run))

    def close(self, task: Task) -> None:
        """Take note that a run has ended, however."""
        if task.stoppable:
            self._rule(task).close(choices_hash(task.run))

    def _rule(self, task: Task) -> StoppingRule:
        study, spec = study_of(task.configuration), self._sweep.scheduler
        if study not in self._rules:
            assert spec is not None
            varied = self._sweep.vary.get("epochs")
            most = max(varied.values) if varied else task.run.epochs
            self._rules[study] = StoppingRule(spec, _selectable_epochs(task.run, most))
        return self._rules[study]

    # Seeds -----------------------------------------------------------------------------------------------------

    def first(self, configuration: Configuration, seeds: Sequence[int]) -> int:
        """Count the seeds that a configuration begins with."""
        return 1 if self.stoppable(configuration) or self._races_on(configuration) else len(seeds)

    def next(self, task: Task, outcomes: Outcomes, waiting: int) -> int:
        """Count the seeds that a configuration gets after ``task``, one of its seeds, is done.

        outcomes: of all its seeds that have ended. waiting: seeds that have not been started."""
        configuration = task.configuration
        if self._race_log is None or not self._races_on(configuration):
            return waiting
        (objective,) = self._objectives
        sign = 1.0 if DIRECTIONS[objective] == "maximize" else -1.0
        race = self._races.setdefault(study_of(configuration), Race(self._sweep.seeds))
        race.add(configuration.key, task.run.seed, sign * objective_value(outcomes[task.run.seed], objective))
        if not waiting:
            return 0
        question = Decision(
            label=configuration.label,
            dataset=configuration.dataset,
            split=configuration.split,
            configuration=configuration.key,
            number=configuration.number,
            objective=objective,
            seeds=list(outcomes),
            stays=True,
        )
        return int(self._race_log.decide(question, race).stays)

    def _races_on(self, configuration: Configuration) -> bool:
        return self._race_log is not None and configuration.number is not None and configuration.role != "report"


def _selectable_epochs(run: Run, epochs: int) -> int:
    """Count the epochs of a run that may be selected, with a budget of ``epochs``: the rule counts no others."""
    method = methods.get(run.method)
    hyperparameters = method.Hyperparameters.model_validate(run.hyperparameters)
    return selectable_epochs(method.phases_of(hyperparameters, tuple(run.encoders), epochs))
