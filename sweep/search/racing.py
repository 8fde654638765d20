"""Racing over seeds: a configuration that the leader beats clearly on the seeds so far gets no further ones.

Means over different numbers of seeds are never compared: the leader, the best of those that have all seeds, is looked
at on the seeds that the other one has. How much a difference of two means over n seeds may owe to chance is judged by
t(d) s √(2 / n), where s is the sample deviation within configurations, pooled over all of the study, and d its degrees
of freedom (Maron and Moore, Hoeffding races, NIPS 1993, with Student's bound for Hoeffding's). A configuration is
looked at after each seed, and the leader is the largest of several means: t is that of RISK divided by the looks and by
the configurations that might lead, so that one as good as all others is lost with a chance of RISK at most
(benchmarks/racing_rates.py prints how often it is, and what a race saves)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sweep.storage.files import append_line, write_atomic

LEAST_DEGREES = 4
"""Degrees of freedom below which nothing is decided."""
RISK = 0.05
"""Chance at most that a configuration as good as every other one is lost, over all of its comparisons."""


class Decision(BaseModel):
    """A decision on a configuration in the race after some seeds, a line of race.jsonl in the folder of the sweep.

    A configuration with ``stays: false`` was trained under ``seeds`` alone: its mean is comparable with no other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    dataset: str
    split: int | None = None
    configuration: str
    """Hash of the run without its seed and its split."""
    number: int | None
    """Of the Optuna trial."""
    objective: str
    seeds: list[int]
    """Those it has finished."""
    stays: bool
    leader: str | None = None
    """Configuration it was compared with; null where there was nothing to compare with yet."""
    difference: float | None = None
    """Its mean less the leader's over ``seeds``; negative is worse."""
    margin: float | None = None
    """How far below zero that difference may be by chance."""


def margin(deviation: float, degrees: int, seeds: int, chance: float) -> float:
    """Compute how far a mean over ``seeds`` values of this deviation is below an equal one's with this chance."""
    from scipy.special import stdtrit  # scipy takes long to import

    return float(stdtrit(degrees, 1 - chance)) * deviation * math.sqrt(2 / seeds)


class Race:
    """The configurations of one study. All values are better the higher they are."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._seeds = list(seeds)
        self._values: dict[str, dict[int, float]] = {}
        self._spread: dict[str, float] = {}
        self._degrees = 0
        self._complete: dict[str, float] = {}
        """Means of the configurations that have all seeds, in the order in which they got them."""

    def add(self, configuration: str, seed: int, value: float) -> None:
        """Take a finished seed of a configuration. Of one that is told twice, the later value counts, once."""
        own = self._values.setdefault(configuration, {})
        if own and seed not in own:
            self._degrees += 1
        own[seed] = value
        mean = sum(own.values()) / len(own)
        if len(own) > 1:
            self._spread[configuration] = sum((each - mean) ** 2 for each in own.values())
        if len(own) == len(self._seeds):
            self._complete[configuration] = mean

    def _leader(self) -> str | None:
        """Find the best of the configurations that have all seeds, of equals the one that had them first."""
        return max(self._complete, key=self._complete.__getitem__, default=None)

    def compare(self, configuration: str) -> tuple[str, float, float] | None:
        """Return the leader, how much better than it a configuration is on the seeds that it has, and how far below
        zero that may be by chance; None where there are no two configurations to compare, or too few degrees of
        freedom."""
        leader = self._leader()
        if leader is None or leader == configuration or self._degrees < LEAST_DEGREES:
            return None
        own, best = self._values[configuration], self._values[leader]
        difference = sum(own[seed] - best[seed] for seed in own) / len(own)
        deviation = math.sqrt(sum(self._spread.values()) / self._degrees)
        chance = RISK / (max(1, len(self._seeds) - 1) * len(self._complete))
        return leader, difference, margin(deviation, self._degrees, len(own), chance)


class RaceLog:
    """The decisions of a sweep. One that was made is never made again: an interrupted sweep goes on as it began."""

    def __init__(self, path: Path, fresh: bool) -> None:
        """fresh: forget the decisions of earlier drivers."""
        self._path = path
        self._made: dict[tuple[str, ...], Decision] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() and not fresh else ""
        for line in text.splitlines():
            try:
                decision = Decision.model_validate_json(line)
            except ValidationError:  # torn: the process died while it wrote, or there was no room for all of it
                continue
            self._made[_key(decision)] = decision
        lines = [decision.model_dump_json() + "\n" for decision in self._made.values()]
        if path.exists():
            write_atomic(path, "".join(lines).encode())

    def decide(self, open_question: Decision, race: Race) -> Decision:
        """Look up the decision on a configuration with these seeds, else make the one that the race leads to now."""
        if (made := self._made.get(_key(open_question))) is not None:
            return made
        decision = open_question
        if (compared := race.compare(open_question.configuration)) is not None:
            leader, difference, width = compared
            found = {"leader": leader, "difference": difference, "margin": width, "stays": difference + width >= 0}
            decision = open_question.model_copy(update=found)
        self._made[_key(decision)] = decision
        append_line(self._path, decision.model_dump_json())
        return decision


def _key(decision: Decision) -> tuple[str, ...]:
    return (
        decision.label,
        decision.dataset,
        str(decision.split),
        decision.configuration,
        decision.objective,
        str(decision.seeds),
    )
