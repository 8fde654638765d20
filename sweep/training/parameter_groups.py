"""The parameter groups of a run: which of them learn in an epoch and how fast, with the optimizers and schedules of the
phases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from methods.base import Method
from methods.base.phase import Phase, schedule_epochs
from sweep.training.optimizers import Schedule, build_optimizer
from sweep.training.recipe import Recipe


class ParameterGroups:
    """A method's groups under the phases of a run.

    rates: group -> factor beside the phase's, written by the method between epochs. by_group: group -> the parameters
    that the present epoch trains, alike on every worker; parameters: all of them, in the order of the groups."""

    def __init__(self, method: Method, recipe: Recipe) -> None:
        self.rates: dict[str, float] = {}
        self.by_group: dict[str, list[nn.Parameter]] = {}
        self.parameters: list[nn.Parameter] = []
        self.learning_rates: dict[str, float] = {}
        """Of each group that learns in the present epoch."""
        self._method, self._recipe, self._phases = method, recipe, method.phases
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        self._schedules: dict[str, Schedule] = {}
        self._position = 0
        self._resting: list[nn.Parameter] = []

    @property
    def phase(self) -> Phase:
        return self._phases[self._position]

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer of the present phase; None where the phase has trained no parameter yet."""
        return self._optimizers.get(self.phase.optimizer_name)

    @property
    def schedule(self) -> Schedule:
        return self._schedules[self.phase.schedule_name]

    # Phases and epochs -----------------------------------------------------------------------------------------

    def enter(self, position: int) -> None:
        """Begin the phase of that position: forget what no later phase names, make its schedule where there is none."""
        self._position = position
        ahead = self._phases[position:]
        optimizers, schedules = ({p.optimizer_name for p in ahead}, {p.schedule_name for p in ahead})
        self._optimizers = {name: found for name, found in self._optimizers.items() if name in optimizers}
        self._schedules = {name: found for name, found in self._schedules.items() if name in schedules}
        self._add_schedule(self.phase.schedule_name)

    def _add_schedule(self, name: str) -> None:
        if name not in self._schedules:
            spec = self._recipe.schedule
            self._schedules[name] = Schedule(spec, self._recipe.lr, schedule_epochs(self._phases, name))

    def forget(self, parameters: Sequence[nn.Parameter]) -> None:
        """Clear the state of parameters in every optimizer."""
        for optimizer in self._optimizers.values():
            for parameter in parameters:
                optimizer.state.pop(parameter, None)

    def refresh(self) -> None:
        """Set the method to training, let the groups that the epoch does not train rest, and give the others their
        rates. Raises ValueError for a group that does not exist, and where two groups overlap."""
        self.wake()
        if not all(module.training for module in self._method.modules()):
            self._method.train()
        groups = self._method.groups()
        factors = self._factors(groups)
        parameters = {name: _parameters_of(members) for name, members in groups.items()}
        self._join(self.phase, parameters)
        self.by_group = {}
        for name, members in groups.items():
            if factors[name] > 0:
                self.by_group[name] = [p for p in parameters[name] if p.requires_grad]
            else:
                self._rest(members)
        self.parameters = [parameter for trained in self.by_group.values() for parameter in trained]
        self.learning_rates = {
            name: self.schedule.rate * factor for name, factor in factors.items() if factor > 0 and groups[name]
        }
        if self.optimizer is not None:
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rates.get(group["name"], 0.0)

    def wake(self) -> None:
        """Let parameters need gradients again that :meth:`refresh` put to rest."""
        for parameter in self._resting:
            parameter.requires_grad_(True)
        self._resting = []

    def _factors(self, groups: Iterable[str]) -> dict[str, float]:
        told, known = self.phase.groups, ", ".join(groups)
        for where, names in ((f"phase {self.phase.name!r}", told or {}), ("context.rates", self.rates)):
            if unknown := [name for name in names if name not in groups]:
                raise ValueError(f"{where} names parameter group {unknown[0]!r}; the method has: {known}")
        if negative := [name for name, rate in self.rates.items() if not rate >= 0]:
            raise ValueError(f"context.rates[{negative[0]!r}] is {self.rates[negative[0]]}: a rate is 0 or more")
        return {name: (1.0 if told is None else told.get(name, 0.0)) * self.rates.get(name, 1.0) for name in groups}

    def _join(self, phase: Phase, groups: Mapping[str, Sequence[nn.Parameter]]) -> None:
        """Let the phase's optimizer learn of the parameters of its groups that it does not hold yet."""
        owners: dict[int, str] = {}
        for name, parameters in groups.items():
            for parameter in parameters:
                if (other := owners.setdefault(id(parameter), name)) != name:
                    raise ValueError(f"a parameter lies in two groups, {other!r} and {name!r}")
        held = self._optimizers.get(phase.optimizer_name)
        known = {id(p) for group in held.param_groups for p in group["params"]} if held is not None else set()
        for name, parameters in groups.items():
            if phase.groups is not None and name not in phase.groups:
                continue
            new = [p for p in parameters if p.requires_grad and id(p) not in known]
            if not new:
                continue
            if held is None:
                held = self._optimizers[phase.optimizer_name] = build_optimizer(new, self._recipe)
                held.param_groups[0]["name"] = name
                continue
            same = [group for group in held.param_groups if group["name"] == name]
            if same:
                same[0]["params"].extend(new)
            else:
                held.add_param_group({"params": new, "name": name})

    def _rest(self, members: Sequence[nn.Module | nn.Parameter]) -> None:
        for member in members:
            if isinstance(member, nn.Module):
                member.eval()
        for parameter in _parameters_of(members):
            if parameter.requires_grad:
                parameter.requires_grad_(False)
                parameter.grad = None
                self._resting.append(parameter)

    # State -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return rates, schedules, and what each optimizer remembers of each parameter, by the parameter's name."""
        names = {id(parameter): name for name, parameter in self._method.named_parameters()}
        return {
            "optimizers": {
                name: {names[id(parameter)]: slots for parameter, slots in optimizer.state.items()}
                for name, optimizer in self._optimizers.items()
            },
            "schedules": {name: schedule.state_dict() for name, schedule in self._schedules.items()},
            "rates": dict(self.rates),
        }

    def load_state_dict(self, state: dict[str, Any], position: int) -> None:
        """Take up a state in the phase of that position, when the method has taken up its own."""
        self._position, self.rates = position, dict(state["rates"])
        for name, saved in state["schedules"].items():
            self._add_schedule(name)
            self._schedules[name].load_state_dict(saved)
        groups = {name: _parameters_of(members) for name, members in self._method.groups().items()}
        for name, slots in state["optimizers"].items():
            for phase in self._phases[: position + 1]:
                if phase.optimizer_name == name:
                    self._join(phase, groups)
            if name in self._optimizers:
                self._load_slots(self._optimizers[name], slots)

    def _load_slots(self, optimizer: torch.optim.Optimizer, slots: dict[str, Any]) -> None:
        names = {id(parameter): name for name, parameter in self._method.named_parameters()}
        whole = optimizer.state_dict()
        held = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
        whole["state"] = {number: slots[name] for number, name in enumerate(held) if name in slots}
        optimizer.load_state_dict(whole)


def _parameters_of(members: Sequence[nn.Module | nn.Parameter]) -> list[nn.Parameter]:
    """List the parameters of modules and parameters, each once."""
    found = [p for member in members for p in (member.parameters() if isinstance(member, nn.Module) else [member])]
    return list({id(p): p for p in found}.values())
