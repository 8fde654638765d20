"""The schema of a sweep: every key, its type, its default."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from methods.base.hyperparameters import MOST_EPOCHS, Choice, Integer, LogUniform, SearchRange, Uniform
from sweep.config.problems import COMMAND_LINE, Path, Place, Problem
from sweep.config.yaml_lines import LocatedMapping

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
REPORT_SEEDS = [100, 101, 102, 103, 104]

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, Field(min_length=1)]
RangeKind = Literal["grid", "uniform", "loguniform", "int", "choice", "auto", "each"]
RANGE_KINDS: tuple[RangeKind, ...] = ("grid", "uniform", "loguniform", "int", "choice")
ReferenceName = Literal["joint", "joint + unimodal losses", "ensemble", "best unimodal"]
REFERENCE_NAMES: tuple[ReferenceName, ...] = get_args(ReferenceName)


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Range(_Spec):
    """The values that one name of ``vary`` runs through: ``auto`` (the range that the method declares), ``each`` (every
    modality of the dataset), or one of

    grid, choice: [value, ...]; uniform, loguniform: [low, high]; int: [low, high], whole numbers, both included."""

    kind: RangeKind
    values: list[Any] = []

    @model_validator(mode="before")
    @classmethod
    def _from_written(cls, written: Any) -> Any:
        if written in ("auto", "each"):
            return {"kind": written}
        if not isinstance(written, dict) or len(written) != 1:
            raise ValueError(
                f"expected auto, each, or one of {', '.join(RANGE_KINDS)} with a list, as in {{grid: [0.1, 0.5]}}"
            )
        kind, values = next(iter(written.items()))
        if kind not in RANGE_KINDS:
            raise ValueError(f"{kind!r} is no kind of range; there are: {', '.join(RANGE_KINDS)}")
        if not isinstance(values, list):
            raise ValueError(f"{kind} needs a list, not {values!r}")
        if not values:
            raise ValueError(f"{kind} is empty")
        return {"kind": kind, "values": values if kind in ("grid", "choice") else _check_ends(kind, values)}

    @model_serializer
    def _to_written(self) -> Any:
        return self.kind if self.kind in ("auto", "each") else {self.kind: self.values}

    def search_range(self) -> SearchRange:
        """Turn it into a range to search: a grid becomes a choice. Raises ValueError for ``auto`` and ``each``, which
        method and dataset resolve."""
        if self.kind in ("grid", "choice"):
            return Choice(tuple(self.values))
        low, high = self.values
        if self.kind == "int":
            return Integer(low, high)
        return Uniform(low, high) if self.kind == "uniform" else LogUniform(low, high)


def _check_ends(kind: str, values: list[Any]) -> list[Any]:
    wanted = (int,) if kind == "int" else (int, float)
    if len(values) != 2 or any(isinstance(v, bool) or not isinstance(v, wanted) for v in values):
        whole = "whole " if kind == "int" else ""
        raise ValueError(f"{kind} needs two {whole}numbers, [low, high], not {values!r}")
    low, high = values
    if low >= high:
        raise ValueError(f"{kind} needs a low end below the high one, not {values!r}")
    if kind == "loguniform" and low <= 0:
        raise ValueError(f"loguniform needs positive ends, not {values!r}")
    return values if kind == "int" else [float(low), float(high)]


class MethodSpec(_Spec):
    """A method of a sweep, under a label of its own where it appears twice, with its own fixed hyperparameters."""

    method: Text
    label: Text
    hyperparameters: dict[str, Any] = {}


Objective = Literal["accuracy", "map", "macro_f1", "imbalance", "forward_passes", "seconds", "peak_memory_mib"]
"""What a search can look for: the first three are maximised, the others minimised."""


class SearchSpec(_Spec):
    """The search of each study: the sampler of Optuna that proposes configurations, and how many are tried.
    ``{algorithm: grid}`` is the same as no search: every point is run."""

    algorithm: Literal["grid", "random", "tpe", "gp", "cmaes", "qmc", "nsga2"]
    configurations: int = Field(ge=1, le=1_000_000)
    seed: Seed = 0
    objectives: list[Objective] = Field([], max_length=3)
    """What is searched for, on validation data; empty: the sweep's metric alone. Several give a Pareto front."""
    batch: int | None = Field(None, ge=1, le=10_000)
    """Configurations proposed at a time, the next ones when all of them have ended: the same proposals however many
    runs train at once. null: a new one whenever one can be trained."""
    warm_start: list[Text] = Field([], max_length=100)
    """Earlier sweeps of the same results folder whose configurations, the best first, are tried first."""
    racing: bool = False
    """Train further seeds only of configurations that the leader has not beaten clearly on the seeds so far; one as
    good as all others is lost with a chance of 5 % at most."""


class SchedulerSpec(_Spec):
    """Early stopping, by the first seed of a configuration. grace: epochs that every run gets; reduction (asha and
    hyperband): one in so many goes on at each rung."""

    name: Literal["none", "asha", "hyperband", "median"]
    grace: int = Field(5, ge=1)
    reduction: int = Field(3, ge=2)


class ResourcesSpec(_Spec):
    """The resources that one run takes. cpus and gpus are those of one worker; a fraction of a GPU lets runs share
    it."""

    workers: int = Field(1, ge=1, le=10_000)
    cpus: float = Field(1.0, gt=0, le=100_000)
    gpus: float = Field(0.0, ge=0, le=10_000)
    accelerator: Text | None = None
    """Kind of GPU that a worker must have, as Ray names it (A100, H100, T4)."""
    placement: Literal["pack", "spread", "strict_pack", "strict_spread"] = "pack"
    """Workers of a run on as few nodes as possible, on as many, or on exactly one, on one each."""

    @field_validator("gpus")
    @classmethod
    def _whole_above_one(cls, gpus: float) -> float:
        if gpus > 1 and gpus != int(gpus):
            raise ValueError(f"{gpus} GPUs: a fraction must be below 1, more than one GPU a whole number")
        return gpus

    @property
    def gpu_share(self) -> float:
        """Give the part of a GPU that is one worker's, in (0, 1]: a run without any that finds one has it alone."""
        return min(self.gpus, 1.0) or 1.0


class BudgetSpec(_Spec):
    """The budget of one driver: after so many hours, or so many runs trained, it starts no further run."""

    hours: float | None = Field(None, gt=0)
    runs: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _something(self) -> BudgetSpec:
        if self.hours is None and self.runs is None:
            raise ValueError("name hours, runs or both")
        return self


class MLflowSpec(_Spec):
    """Logging to MLflow. tracking_uri: null is what MLflow's environment variables say."""

    tracking_uri: Text | None = None
    experiment: Text | None = None
    """null: the name of the sweep."""


class WandbSpec(_Spec):
    """Logging to Weights & Biases."""

    project: Text = "sweep"
    entity: Text | None = None
    """User or team; null: the account's own."""
    group: Text | None = None
    """null: the name of the sweep."""
    mode: Literal["online", "offline"] | None = None
    """null: what WANDB_MODE says, else online."""


class LoggersSpec(_Spec):
    """The services that runs are logged to, besides the results folder."""

    mlflow: MLflowSpec | None = None
    wandb: WandbSpec | None = None

    def chosen(self) -> list[str]:
        """List those that are on."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]


class Sweep(_Spec):
    """A sweep, validated, with the defaults of the file and the overrides of the command line merged in.

    ``train`` and ``encoders`` hold only what was written: what is not comes from the dataset, then the platform."""

    name: Text
    title: str | None = None
    description: str | None = None
    reproduces: str | None = None
    recipe: str | None = None
    """Name of a paper's recipe, over which ``train``, ``epochs`` and ``data`` lie."""
    methods: list[MethodSpec] = Field([], max_length=1_000)
    hyperparameters: dict[str, Any] = {}
    datasets: list[str] = Field([], max_length=1_000)
    data: dict[str, dict[str, Any]] = {}
    vary: dict[str, Range] = {}
    not_applicable: Literal["refuse", "skip"] = "refuse"
    """A configuration that its method refuses: a mistake in the sweep, or left out and shown as N/A."""
    points: list[dict[str, Any]] = []
    seeds: list[Seed] = Field([0, 1, 2], min_length=1, max_length=10_000)
    splits: list[Seed] = Field([], max_length=1_000)
    """Values of the datasets' ``split_seed`` that everything is repeated on, and every choice made anew; empty: the one
    of ``data``, or its default."""
    report_seeds: list[Seed] = Field([], max_length=10_000)
    """Fresh seeds for what a sweep has chosen; null: five for a search, none for a grid."""
    epochs: int | None = Field(None, ge=1, le=MOST_EPOCHS)
    train: dict[str, Any] = {}
    encoders: dict[str, dict[str, Any]] = {}
    search: SearchSpec | None = None
    scheduler: SchedulerSpec | None = None
    resources: ResourcesSpec = ResourcesSpec()
    metric: Literal["accuracy", "map", "macro_f1"] = "accuracy"
    timeout: float | None = Field(None, gt=0, le=1_000 * SECONDS["d"])
    """Seconds that one run may take; written as seconds, or as in 90s, 30m, 2h, 1d."""
    checkpoint_every: float = Field(1.0, ge=0)
    """Seconds of training after which the next epoch leaves a checkpoint (written as the timeout); 0: every epoch."""
    retries: int = Field(1, ge=0, le=1_000)
    patience: int | None = Field(None, ge=1)
    budget: BudgetSpec | None = None
    keep: Literal["none", "best", "all"] = "best"
    test_peak: bool | None = None
    references: list[ReferenceName] = Field(list(REFERENCE_NAMES), max_length=len(REFERENCE_NAMES))
    """What stands beside the methods; written as a list, or as true (all of them) or false (none)."""
    loggers: LoggersSpec = LoggersSpec()

    _written: LocatedMapping = PrivateAttr(default_factory=lambda: LocatedMapping({}))

    @field_validator("timeout", "checkpoint_every", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value.strip())
        if not found:
            raise ValueError(f"{value!r} is no time; write seconds, or a number with s, m, h or d, as in 2h")
        return float(found[1]) * SECONDS[found[2]]

    @field_validator("references", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return list(REFERENCE_NAMES) if value else []
        if not isinstance(value, list):
            raise ValueError(
                f"{value!r} is not possible: expected true, false, or a list of {', '.join(REFERENCE_NAMES)}"
            )
        return value

    @field_validator("references")
    @classmethod
    def _each_once(cls, names: list[ReferenceName]) -> list[ReferenceName]:
        """Bring them into the order of REFERENCE_NAMES, in which figures and tables have them."""
        if twice := [name for position, name in enumerate(names) if name in names[:position]]:
            raise ValueError(f"{twice[0]} stands twice")
        return [name for name in REFERENCE_NAMES if name in names]

    @field_validator("seeds", "splits", "report_seeds")
    @classmethod
    def _distinct(cls, seeds: list[int], found: ValidationInfo) -> list[int]:
        for seed, count in Counter(seeds).items():
            if count > 1:
                raise ValueError(f"{'split' if found.field_name == 'splits' else 'seed'} {seed} stands twice")
        return seeds

    @model_validator(mode="before")
    @classmethod
    def _default_report_seeds(cls, written: dict[str, Any]) -> dict[str, Any]:
        if written.get("report_seeds") is not None:
            return written
        return {**written, "report_seeds": list(REPORT_SEEDS) if written.get("search") else []}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sweep) and self.model_dump() == other.model_dump()

    def entry_path(self, entry: MethodSpec) -> Path:
        """Find where an entry of ``methods`` was written."""
        written = self._written.values.get("methods")
        for position, found in enumerate(written if isinstance(written, list) else []):
            if isinstance(found, dict) and found.get("label") == entry.label:
                return ("methods", position)
        return ("methods",)

    def problem(self, path: Path, message: str, suggestion: str = "") -> Problem:
        """Make the problem of a mistake in what was written at ``path`` of this sweep."""
        return self._written.problem(path, message, suggestion)

    def problem_of_whole(self, path: Path, message: str, suggestion: str = "") -> Problem:
        """Make the problem of a mistake in all together that was written at ``path``: of the command line, where that
        wrote a part of it."""
        overrides = [place.key for place in self._places_below(path) if place.origin == COMMAND_LINE]
        if not overrides:
            return self.problem(path, message, suggestion)
        return Place(COMMAND_LINE, None, " ".join(dict.fromkeys(overrides))).problem(message, suggestion)

    def wrote(self, path: Path) -> bool:
        """Tell whether someone wrote a value at ``path``."""
        return path in self._written.places

    def wrote_itself(self, path: Path) -> bool:
        """Tell whether the value at ``path`` stands in the file under the name of this sweep: not in what several
        share, and not on the command line."""
        place = self._written.places.get(path)
        return place is not None and place.key.startswith(f"sweeps.{self.name}.")

    def from_command_line(self, path: Path) -> bool:
        """Tell whether the value at ``path``, or anything below it, comes from the command line."""
        places = [self._written.place(path)[0], *self._places_below(path)]
        return any(place.origin == COMMAND_LINE for place in places)

    def _places_below(self, path: Path) -> list[Place]:
        return [place for p, place in self._written.places.items() if p[: len(path)] == path]
