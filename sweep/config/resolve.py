"""Settings of one method on one dataset, from a sweep: every default filled in.

Weakest first: the platform's defaults, the recipe of the dataset, the paper's recipe that a sweep names, the defaults
of the file, the sweep, the command line (these four are one by now), the fixed hyperparameters of a method's entry, the
varied values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

import data
import methods
from data.base import DatasetOptions, DatasetSource, SampleType, check_sizes
from methods.base import MethodError
from methods.base.hyperparameters import MOST_EPOCHS, Hyperparameters
from methods.base.phase import Phase, checked_phases, total_epochs
from models import encoders
from models import fusion as fusions
from models.encoders.checkpoints import absence, may_be_of_hub
from sweep.config.check_corruption import absence_refusal, corruption_problems
from sweep.config.conditions import with_idle_defaults
from sweep.config.merge import names_another
from sweep.config.nested import spread_over, value_below, with_value_below
from sweep.config.problems import ConfigError, Path, Problem, nearest
from sweep.config.schema import MethodSpec, Sweep
from sweep.config.schema_errors import describe_value, explain
from sweep.config.targets import Target, target
from sweep.runs.severities import CORRUPT
from sweep.training.optimizers import check_schedule
from sweep.training.recipe import Recipe

EPOCHS = 30
"""Passes over the training set where neither sweep nor dataset says how many."""
MOST_PHASES = 5_000


def varied_names(sweep: Sweep, method: str, dataset: str) -> list[str]:
    """List the names in ``vary`` that concern one study."""
    return [name for name in sweep.vary if concerns_study(sweep, name, method, dataset)]


def point_values(sweep: Sweep, point: Mapping[str, Any], method: str, dataset: str) -> dict[str, Any] | None:
    """Pick what a point sets in one study; None where all of it is for others."""
    found = {name: value for name, value in point.items() if concerns_study(sweep, name, method, dataset)}
    return found if found or not point else None


def concerns_study(sweep: Sweep, name: str, method: str, dataset: str) -> bool:
    """Tell whether what ``name`` sets is a part of one study."""
    return _aims_at_study(sweep, target(name), method, dataset)


def _aims_at_study(sweep: Sweep, aim: Target, method: str, dataset: str) -> bool:
    if aim.section == "encoders":
        return aim.path[:1] == () or aim.path[0] in modalities_of(dataset, sweep.data.get(dataset, {}))
    if aim.hyperparameter and len(aim.path) > 1 and len(sweep.datasets) > 1:
        # A modality that other datasets alone have is theirs.
        have = {each: modalities_of(each, sweep.data.get(each, {})) for each in sweep.datasets}
        if aim.path[1] not in have[dataset] and any(aim.path[1] in several for several in have.values()):
            return False
    return aim.concerns(method, dataset)


def modalities_of(dataset: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """List the modalities of a dataset; none where its options are wrong or incomplete, which is said elsewhere."""
    source = data.get(dataset)
    try:
        return source.modalities(source.Options.model_validate(options))
    except ValueError:
        return ()


PathOf = Callable[[str], Path]
"""Tells where the value of a varied name was written."""


@dataclass(frozen=True)
class Settings:
    """All that one method trains with on one dataset, but for the seed. A hyperparameter without effect has its
    default."""

    hyperparameters: Hyperparameters
    options: DatasetOptions
    modalities: tuple[str, ...]
    encoders: dict[str, dict[str, Any]]
    """Of every modality, but for those of which only data that are not here tell the encoder."""
    train: Recipe
    epochs: int


def epoch_budget(sweep: Sweep, dataset: str) -> int:
    """Return the epochs of a run that does not vary them."""
    return int(sweep.epochs or data.get(dataset).recipe.get("epochs", EPOCHS))


def fixed_hyperparameters(sweep: Sweep, entry: MethodSpec, dataset: str) -> dict[str, Any]:
    """Collect the hyperparameters that the sweep or the method's entry fixes."""
    aims = ((target(name), value) for name, value in sweep.hyperparameters.items())
    own = {aim.path[0]: value for aim, value in aims if len(aim.path) == 1 and aim.concerns(entry.method, dataset)}
    return own | {name: value for name, value in entry.hyperparameters.items() if "." not in name}


class _Layers:
    """Values put over one another, with the path at which each was written."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.paths: dict[Path, Path] = {}

    def put(self, path: tuple[str, ...], value: Any, written: Path, section: str = "") -> None:
        """Lay a value over the one below. section "train", "encoders": the options of a schedule or an encoder of the
        same name merge. Raises IndexError for a position that a list does not have."""
        below = value_below(self.values, path)
        if (
            section
            and isinstance(value, Mapping)
            and isinstance(below, dict)
            and not names_another((section,), below, value)
        ):
            value = {**below, **value}
        self.values = with_value_below(self.values, path, value)
        self.paths[path] = written

    def path_of(self, path: Path, base: Path) -> Path:
        """Tell where the value at ``path`` was written: below ``base`` where nothing says."""
        for size in range(len(path), 0, -1):
            if path[:size] in self.paths:
                return self.paths[path[:size]] + path[size:]
        return base + path


def resolve(sweep: Sweep, entry: MethodSpec, dataset: str, values: Mapping[str, Any], path_of: PathOf) -> Settings:
    """Build the settings of ``entry`` on ``dataset`` with the varied ``values``. Raises ConfigError with every
    mistake."""
    problems: list[Problem] = []
    source = data.get(dataset)
    layers = {name: _layers(name, sweep, entry, source, values, path_of) for name in ("data", "train")}
    layers["hyperparameters"] = _hyperparameter_layers(
        sweep, entry, source, values, path_of, modalities_of(dataset, layers["data"].values), problems
    )

    def build(section: str, model: type[Any], base: Path, noun: str) -> Any:
        found = layers[section]
        try:
            return model.model_validate(found.values)
        except ValidationError as error:
            for wrong in explain(error, model, found.values, noun):
                problems.append(sweep.problem(found.path_of(wrong.path, base), wrong.message, wrong.suggestion))
        return None

    own = (*sweep.entry_path(entry), "hyperparameters")
    kind = methods.get(entry.method).Hyperparameters
    problems += _without_unknown_corruption(sweep, dataset, layers["data"])
    options = build("data", source.Options, ("data", dataset), f"option of {dataset}")
    train = build("train", Recipe, ("train",), "key of train")
    hyperparameters = build("hyperparameters", kind, own, f"hyperparameter of {entry.method}")
    epochs = values.get("epochs", epoch_budget(sweep, dataset))
    if isinstance(epochs, bool) or not isinstance(epochs, int) or not 1 <= epochs <= MOST_EPOCHS:
        wanted = f"a whole number from 1 to {MOST_EPOCHS:,}"
        problems.append(sweep.problem(path_of("epochs"), f"expected {wanted}, not {describe_value(epochs)}"))
    if train is not None:
        problems += _check_batches(sweep, train, layers["train"])
    modalities: tuple[str, ...] = ()
    specs: dict[str, dict[str, Any]] = {}
    if options is not None:
        try:
            modalities = source.modalities(options)
            specs = _encoders(sweep, modalities, source.encoders(options), values, path_of, problems)
            samples = source.samples(options)
            check_sizes(samples)
            problems += encoder_problems(sweep, specs, samples, values, path_of)
            problems += corruption_problems(
                sweep, options, samples, lambda path: layers["data"].path_of(path, ("data", dataset))
            )
        except ValueError as error:
            problems.append(data_problem(sweep, dataset, error))
    if problems:
        raise ConfigError(problems)
    return Settings(with_idle_defaults(hyperparameters), options, modalities, specs, train, epochs)


def _without_unknown_corruption(sweep: Sweep, dataset: str, layers: _Layers) -> list[Problem]:
    """Take out what is to be done to modalities that the dataset has not, and return the problem of each: what is wrong
    with their options is of no account."""
    if not isinstance(corrupt := layers.values.get(CORRUPT), Mapping):
        return []
    clean = {name: value for name, value in layers.values.items() if name != CORRUPT}
    modalities = modalities_of(dataset, clean)
    unknown = [name for name in map(str, corrupt) if modalities and name not in modalities]
    layers.values = clean | {CORRUPT: {name: how for name, how in corrupt.items() if name not in unknown}}
    places = [(layers.path_of((CORRUPT, name), ("data", dataset)), name) for name in unknown]
    return [sweep.problem(place, f"no modality called {name!r}", nearest(name, modalities)) for place, name in places]


def data_problem(sweep: Sweep, dataset: str, error: ValueError) -> Problem:
    """Make the problem of data that cannot be used; its place names the dataset, which then no error need do."""
    return sweep.problem_of_whole(("data", dataset), str(error).removeprefix(f"{dataset}: "))


def _layers(
    section: str,
    sweep: Sweep,
    entry: MethodSpec,
    source: type[DatasetSource],
    values: Mapping[str, Any],
    path_of: PathOf,
) -> _Layers:
    found = _Layers()
    if section == "data":
        for name, value in sweep.data.get(source.name, {}).items():
            found.put((name,), value, ("data", source.name, name))
    else:
        found.values |= {name: value for name, value in source.recipe.items() if name != "epochs"}
        for name, value in sweep.train.items():
            found.put((name,), value, ("train", name), "train")
    for name, value in values.items():
        aim = target(name)
        if aim.section == section and aim.concerns(entry.method, source.name):
            found.put(aim.path, value, path_of(name), section if section == "train" else "")
    return found


def _hyperparameter_layers(
    sweep: Sweep,
    entry: MethodSpec,
    source: type[DatasetSource],
    values: Mapping[str, Any],
    path_of: PathOf,
    modalities: tuple[str, ...],
    problems: list[Problem],
) -> _Layers:
    """Lay over one another what the sweep, the method's entry and the point say, in each what is whole before parts of
    it."""
    found, fields = _Layers(), methods.get(entry.method).Hyperparameters.model_fields
    own = (*sweep.entry_path(entry), "hyperparameters")
    written: list[list[tuple[Target, Any, Path]]] = [
        [(target(name), value, ("hyperparameters", name)) for name, value in sweep.hyperparameters.items()],
        [(_own_target(name), value, (*own, name)) for name, value in entry.hyperparameters.items()],
        [(target(name), value, path_of(name)) for name, value in values.items()],
    ]
    for layer in written:
        for aim, value, path in sorted(layer, key=lambda one: len(one[0].path)):
            if aim.hyperparameter is None or not _aims_at_study(sweep, aim, entry.method, source.name):
                continue
            if len(aim.path) > 1 and aim.hyperparameter in fields:
                field = fields[aim.hyperparameter]
                below = found.values.get(aim.hyperparameter, field.get_default())
                found.values[aim.hyperparameter] = spread_over(below, modalities, field.annotation)
            try:
                found.put(aim.path, value, path)
            except IndexError as error:
                problems.append(sweep.problem(path, f"{aim.hyperparameter} has {error}"))
    return found


def _own_target(name: str) -> Target:
    """Find what a name in the entry of a method sets, which needs no method before it."""
    return Target("hyperparameters", None, tuple(name.split(".")))


def _encoders(
    sweep: Sweep,
    modalities: Sequence[str],
    defaults: Mapping[str, Any],
    values: Mapping[str, Any],
    path_of: PathOf,
    problems: list[Problem],
) -> dict[str, dict[str, Any]]:
    """Settle the encoder of each modality: the dataset's, with what the sweep says of it; none where neither names
    one."""
    layers = _Layers()
    for modality, spec in defaults.items():
        layers.values[modality] = {"name": spec} if isinstance(spec, str) else dict(spec)
    for modality, spec in sweep.encoders.items():
        if modality in modalities:
            layers.put((modality,), spec, ("encoders", modality), "encoders")
    for name, value in values.items():
        aim = target(name)
        if aim.section == "encoders" and aim.path[0] in modalities:
            whole = {"name": value} if len(aim.path) == 1 and isinstance(value, str) else value
            layers.put(aim.path, whole, path_of(name), "encoders")
    found = {}
    for modality in modalities:
        if not isinstance(spec := layers.values.get(modality, {}), Mapping):
            said = f"expected the name of an encoder, or a mapping, not {describe_value(spec)}"
            problems.append(sweep.problem_of_whole(encoder_path(modality, values, path_of), said))
            continue
        if "name" not in spec:
            continue
        try:
            found[modality] = encoders.resolve(layers.values[modality])
        except ValueError as error:
            problems.append(sweep.problem_of_whole(encoder_path(modality, values, path_of), str(error)))
    return found


def encoder_problems(
    sweep: Sweep,
    specs: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, SampleType],
    values: Mapping[str, Any],
    path_of: PathOf,
) -> Iterator[Problem]:
    """Find encoders that cannot take the samples of their modality. samples: those that are known, by modality."""
    for modality, spec in specs.items():
        if (sample := samples.get(modality)) is None:
            continue
        if (reason := encoders.refusal(spec, sample.shape, sample.tokens)) is not None:
            path = encoder_path(modality, values, path_of)
            yield sweep.problem_of_whole(path, reason)


def absent_weights(
    sweep: Sweep, entry: MethodSpec, settings: Settings, values: Mapping[str, Any], path_of: PathOf
) -> Iterator[Problem]:
    """Find weights to start from that are not on this machine: those of encoders, and a method's own."""
    for modality, spec in settings.encoders.items():
        if (reason := encoders.absent_weights(spec)) is not None:
            yield sweep.problem_of_whole(encoder_path(modality, values, path_of), reason)
    pretrained = getattr(settings.hyperparameters, "pretrained", None)
    if isinstance(pretrained, str) and (reason := absence(pretrained, may_be_of_hub(pretrained))) is not None:
        varied = [name for name in values if target(name).hyperparameter == "pretrained"]
        in_entry = "pretrained" in entry.hyperparameters
        own = (*(sweep.entry_path(entry) if in_entry else ()), "hyperparameters", "pretrained")
        yield sweep.problem(path_of(varied[0]) if varied else own, f"{entry.method}: {reason}")


def encoder_path(modality: str, values: Mapping[str, Any], path_of: PathOf) -> Path:
    """Tell where the encoder of a modality was written."""
    varied_here = [name for name in values if target(name).section == "encoders" and target(name).path[0] == modality]
    return path_of(varied_here[0]) if varied_here else ("encoders", modality)


def _check_batches(sweep: Sweep, train: Recipe, layers: _Layers) -> Iterator[Problem]:
    workers, batch = sweep.resources.workers, train.batch_size
    path = layers.paths.get(("batch_size",), ("resources", "workers"))
    if batch % workers:
        near = max(2, batch // workers) * workers
        yield sweep.problem(
            path, f"a batch of {batch} samples cannot be shared evenly by {workers} workers", f"one of {near} can"
        )
    elif batch < 2 * workers:
        yield sweep.problem(
            path, f"a batch of {batch} gives a worker fewer than 2 samples", f"use at least {2 * workers}"
        )


def refusal(
    entry: MethodSpec, dataset: str, settings: Settings, samples: Mapping[str, SampleType] | None = None
) -> str | None:
    """Say why the method is not defined for the dataset's modalities and encoders with these hyperparameters; None
    where it is. samples: modality -> its samples, as far as they are known (default: as the dataset declares them)."""
    kind, found = methods.get(entry.method), settings.hyperparameters
    try:
        kind.check(found, settings.modalities)
        phases = kind.phases_of(found, settings.modalities, settings.epochs)
        _check_extent(phases)
        phases = checked_phases(phases)
        check_schedule(phases, settings.train.schedule)
    except MethodError as error:
        return f"{error} (dataset {dataset})"
    except ValueError as error:
        return f"{entry.method}: {error} (dataset {dataset})"
    if found.mixes_channels is not None:
        samples = data.get(dataset).samples(settings.options) if samples is None else samples
        shapes = {modality: sample.shape for modality, sample in samples.items()}
        reason = fusions.channel_refusal(found.mixes_channels, settings.encoders, shapes)
        reason = reason or absence_refusal(settings.options)
        return reason and f"{reason} (dataset {dataset})"
    return None


def _check_extent(phases: Sequence[Phase]) -> None:
    """Check that a training can be gone through. Raises ValueError."""
    if len(phases) > MOST_PHASES:
        raise ValueError(f"its training would have {len(phases):,} phases, of at most {MOST_PHASES:,}")
    if (epochs := total_epochs(phases)) > MOST_EPOCHS:
        raise ValueError(f"its phases would have {epochs:,} epochs in all, of at most {MOST_EPOCHS:,}")
