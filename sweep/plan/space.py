"""The space of a search: names, their ranges, and the conditions under which they exist."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import methods
from methods.base.hyperparameters import SearchRange
from sweep.config import MethodSpec, Sweep, contains, range_of, varied_names
from sweep.config.conditions import applies, conditions_first, declarations, equality_test
from sweep.config.nested import value_below
from sweep.config.resolve import fixed_hyperparameters
from sweep.config.targets import target
from sweep.runs.records import Run


class Space(dict[str, SearchRange]):
    """Varied name, as the sweep writes it, -> range, for one method on one dataset; empty without a search."""

    def __init__(self, sweep: Sweep, entry: MethodSpec, dataset: str) -> None:
        names = varied_names(sweep, entry.method, dataset) if sweep.search else []
        ranges = {name: range_of(sweep, name, entry.method, dataset) for name in names}
        super().__init__((name, found) for name, found in ranges.items() if found is not None)
        self._kind = methods.get(entry.method).Hyperparameters
        self._fixed = fixed_hyperparameters(sweep, entry, dataset)
        self._named: dict[str, list[str]] = {}
        for name in self:
            if (hyperparameter := target(name).hyperparameter) is not None:
                self._named.setdefault(hyperparameter, []).append(name)

    @property
    def conditional(self) -> bool:
        """Tell whether some name exists for some values of the others only."""
        known = declarations(self._kind)
        conditions = [known[name].only_if for name in self._named]
        return any(condition is not None and condition[0] in self._named for condition in conditions)

    def propose(self, suggest: Callable[[str, SearchRange], Any]) -> dict[str, Any]:
        """Choose a value for each name that exists, asked for one by one: whatever a condition speaks of comes
        first."""
        others = [name for name in self if target(name).hyperparameter is None]
        found = {name: suggest(name, self[name]) for name in others}
        chosen = dict(self._fixed)
        for hyperparameter in conditions_first(self._named, declarations(self._kind)):
            if applies(self._kind, hyperparameter, equality_test(self._kind, chosen)):
                for name in self._named[hyperparameter]:
                    found[name] = suggest(name, self[name])
                    if len(target(name).path) == 1:
                        chosen[hyperparameter] = found[name]
        return {name: found[name] for name in self if name in found}

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Tell whether a search can propose all of ``values``."""
        return all(name in self and contains(self[name], value) for name, value in values.items())

    def complete(self, values: Mapping[str, Any]) -> bool:
        """Tell whether ``values`` have all names that exist for them, and no other one."""
        try:
            return self.propose(lambda name, found: values[name]).keys() == values.keys() and self.holds(values)
        except KeyError:
            return False

    def values_in(self, run: Run) -> dict[str, Any]:
        """Read the values of the names that exist in ``run``, where a search can propose them."""
        found = self.propose(lambda name, space: value_in(run, name))
        return {name: value for name, value in found.items() if contains(self[name], value)}


def value_in(run: Run, name: str) -> Any:
    """Read the value of a varied name off ``run``; None where it has none there."""
    aim = target(name)
    if aim.section == "epochs":
        return run.epochs
    sections: dict[str, Any] = {
        "hyperparameters": run.hyperparameters,
        "data": run.data,
        "train": run.train.model_dump(mode="json"),
        "encoders": run.encoders,
    }
    return value_below(sections[aim.section], aim.path, spread=aim.section == "hyperparameters")
