"""An agenda whose runs are ended by hand, for tests of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.small_runs import make_environment, make_epoch, make_plan

from sweep.engine.agenda import Agenda
from sweep.engine.tasks import Task
from sweep.runs.records import FinalRecord, IndexEntry
from sweep.runs.store import Store
from sweep.search.proposals import Nothing
from sweep.search.searcher import proposers


class Driver:
    """One driver of a sweep over the embedded digits; ``keys`` are those of the sweep."""

    def __init__(self, folder: Path, force: bool = False, **keys: Any) -> None:
        self.plan, self.store = make_plan(folder, **keys), Store(folder / "results")
        self.index: list[IndexEntry] = []
        self.ended: list[int] = []
        self.agenda = Agenda(
            self.plan,
            self.store,
            proposers(self.plan, self.store),
            self.index.append,
            lambda configuration, trained, outcomes: self.ended.append(len(trained)),
            force,
        )

    def fail(self, task: Task, **fields: Any) -> bool:
        """Whether a task that fails with a record of ``fields`` will be tried again."""
        final = FinalRecord.model_validate({"status": "failed", "cause": "data", **fields})
        folder = self.store.run(task.hash)
        folder.open(task.run, make_environment())
        folder.commit(final)
        return self.agenda.finish(task.hash, final)

    def end(self, task: Task, value: float = 0.5, status: str = "done", **metrics: float) -> bool:
        """Whether the task will be tried again."""
        found = {"validation_accuracy": value, **metrics}
        epochs = self.store.run(task.hash).epochs()
        trained = epochs[-1].epoch if epochs else 0
        final = FinalRecord(status=status, reason="a test", metrics=found, epochs_trained=trained)  # type: ignore[arg-type]
        folder = self.store.run(task.hash)
        folder.open(task.run, make_environment())
        folder.commit(final)
        return self.agenda.finish(task.hash, final)

    def train(self, task: Task, values: list[float]) -> int | None:
        """Report a value an epoch; the epoch at which the rule stops the run."""
        folder = self.store.run(task.hash)
        folder.path.mkdir(parents=True, exist_ok=True)
        for epoch, value in enumerate(values, start=1):
            folder.append(make_epoch(epoch).model_copy(update={"metrics": {"validation_accuracy": value}}))
            if self.agenda.should_stop(task.hash, epoch, value):
                self.end(task, value, status="pruned")
                return epoch
        self.end(task, values[-1])
        return None

    def next(self) -> Task:
        task = self.agenda.next()
        assert isinstance(task, Task)
        return task

    def run_all(self, values: dict[float, float] | None = None) -> list[Task]:
        """End every run in the order of handing out, with an accuracy by alpha."""
        done = []
        while isinstance(task := self.agenda.next(), Task):
            self.end(task, (values or {}).get(task.configuration.values.get("alpha"), 0.5))
            done.append(task)
        assert task is Nothing.LEFT
        return done

    def freeze(self) -> None:
        """Leave the index that a later sweep reads."""
        lines = "".join(entry.model_dump_json() + "\n" for entry in self.index)
        (self.store.sweep(self.plan.sweep.name) / "index.jsonl").write_text(lines)
