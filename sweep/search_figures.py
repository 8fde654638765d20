"""Figures of a search, read off its Optuna study: history, slices, importances, parallel coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweep.drawing import COLOURS, GREY, Drawing, slug
from sweep.objectives import DIRECTIONS
from sweep.pareto import objective_label, scaled

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from sweep.config.schema import Objective

STOPPED = "pruned, or out of the race"
LEAST_TRIALS = 20
"""Finished trials below which importances say nothing."""
PERMUTATIONS = 60


@dataclass(frozen=True)
class SearchResult:
    """One objective of one study of a sweep, with the label and dataset that it searched for. position: of the
    objective among those of the study."""

    label: str
    dataset: str
    objective: Objective
    position: int
    study: Study

    @property
    def title(self) -> str:
        """What an axis of its values is called."""
        return objective_label(self.objective)

    @property
    def stem(self) -> str:
        """Tells the objectives of a study apart in names of files and headings."""
        return f"-{slug(self.objective)}" if len(self.study.directions) > 1 else ""

    def value(self, trial: FrozenTrial) -> float:
        """In per cent where it is a share."""
        return scaled(self.objective) * float(trial.values[self.position])

    def best_so_far(self, values: Any) -> Any:
        """The best of the values up to each, whichever way is better."""
        maximal = DIRECTIONS[self.objective] == "maximize"
        return np.maximum.accumulate(values) if maximal else np.minimum.accumulate(values)

    def trials(self, *states: str) -> list[FrozenTrial]:
        """Trials in the given states (COMPLETE, PRUNED, FAIL), by number."""
        return [t for t in self.study.get_trials(deepcopy=False) if t.state.name in states]

    @property
    def parameters(self) -> list[str]:
        return list(dict.fromkeys(name for trial in self.trials("COMPLETE", "PRUNED") for name in trial.params))

    @property
    def common(self) -> list[str]:
        """The parameters that every finished trial has: in a conditional space some exist only for some values."""
        trials = self.trials("COMPLETE")
        return [name for name in self.parameters if all(name in trial.params for trial in trials)]

    def distribution(self, name: str) -> Any:
        trials = self.trials("COMPLETE", "PRUNED")
        return next(t.distributions[name] for t in reversed(trials) if name in t.distributions)


@dataclass(frozen=True)
class Importance:
    """Share of a hyperparameter in the importance of all, and the 95 % quantile of that share under chance: the same
    trials with their values shuffled."""

    name: str
    share: float
    chance: float


def searches(sweep: Path, metric: str) -> list[SearchResult]:
    """The studies in the journals of the sweep in a folder, by label, dataset and objective; none where nothing was
    searched. metric: what a study that does not say so searches for."""
    journals = sorted(sweep.glob("study*.journal"))
    if not journals:
        return []
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from sweep.engine.journal import SEARCHES

    found = []
    for journal in journals:
        storage = JournalStorage(JournalFileBackend(str(journal)))
        for full in optuna.get_all_study_names(storage):
            label, _, dataset = full.removeprefix(f"{sweep.name}/").rpartition("/")
            study = optuna.load_study(study_name=full, storage=storage)
            objectives = study.user_attrs.get(SEARCHES, {}).get("objectives", [metric])
            found += [SearchResult(label or full, dataset, name, at, study) for at, name in enumerate(objectives)]
    return found


def importances(search: SearchResult) -> list[Importance] | str:
    """PED-ANOVA importance of each hyperparameter, largest first; or the reason why none can be given."""
    import optuna

    trials, common = search.trials("COMPLETE"), search.common
    values = np.array([search.value(trial) for trial in trials], float)
    if len(trials) < LEAST_TRIALS:
        return f"Importances need {LEAST_TRIALS} finished trials, there are {len(trials)}: fewer show chance alone."
    if np.ptp(values) == 0:
        return "Every trial has the same value: no hyperparameter matters here."
    if len(common) < 2:
        return "Fewer than two hyperparameters exist in every trial: there is nothing to weigh against each other."
    shuffled = np.random.default_rng(0)

    def shares(values: np.ndarray) -> dict[str, float]:
        study = optuna.create_study(direction=DIRECTIONS[search.objective])
        study.add_trials(
            [
                optuna.create_trial(
                    params={name: t.params[name] for name in common},
                    distributions={name: t.distributions[name] for name in common},
                    value=float(v),
                )
                for t, v in zip(trials, values, strict=True)
            ]
        )
        return optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        found = shares(values)
        null = [shares(shuffled.permutation(values)) for _ in range(PERMUTATIONS)]
    finally:
        optuna.logging.set_verbosity(verbosity)
    return [Importance(n, share, float(np.quantile([s.get(n, 0.0) for s in null], 0.95))) for n, share in found.items()]


IMPORTANCE_NOTE = (
    "PED-ANOVA over the finished trials. A search that adapts tries promising regions more often, which biases "
    "importances; a random or quasi-random search does not. The tick marks what shuffled values reach in 5 % of cases: "
    "a bar below it is no signal."
)


def search_drawings(sweep: Path, metric: str) -> Iterator[Drawing]:
    """Every figure of every study of the sweep in a folder."""
    found = [search for search in searches(sweep, metric) if search.trials("COMPLETE")]
    for search in found:
        alone = len({(s.label, s.dataset) for s in found}) == 1
        prefix = ("search" if alone else f"search-{slug(search.label)}-{slug(search.dataset)}") + search.stem
        title = f"{search.label} on {search.dataset}"
        counts = ", ".join(
            f"{len(search.trials(s))} {w}"
            for s, w in (("COMPLETE", "finished"), ("PRUNED", STOPPED), ("FAIL", "failed"))
        )
        yield Drawing(
            f"{prefix}-history",
            f"{title}: {search.title} of each trial ({counts}); line: best so far.",
            draw_history(search),
            "search",
        )
        text = f"{title}: {search.title} against each hyperparameter; darker trials are later, crosses were {STOPPED}."
        yield Drawing(f"{prefix}-slices", text, draw_slices(search), "search")
        if len(search.common) > 1:
            partial = [name for name in search.parameters if name not in search.common]
            text = f"{title}: each line is a finished trial; the better, the darker. The thick line is the best."
            text += f" Not of every trial, so not drawn: {', '.join(partial)}." if partial else ""
            yield Drawing(f"{prefix}-parallel", text, draw_parallel(search), "search")
            shares = importances(search)
            if not isinstance(shares, str):
                yield Drawing(
                    f"{prefix}-importances", f"{title}: {IMPORTANCE_NOTE}", draw_importances(shares), "search"
                )


def draw_history(search: SearchResult) -> Figure:
    """Objective of each trial and the best so far."""
    done = search.trials("COMPLETE")
    number, value = [t.number for t in done], np.array([search.value(t) for t in done])
    figure = Figure(figsize=(4.4, 2.6), layout="constrained")
    ax = figure.subplots()
    ax.scatter(number, value, s=16, color=COLOURS[0], label="finished", zorder=3)
    ax.step(number, search.best_so_far(value), where="post", color=COLOURS[1], linewidth=1.6, label="best so far")
    for state, marker, word in (("PRUNED", "x", STOPPED), ("FAIL", "|", "failed")):
        if numbers := [t.number for t in search.trials(state)]:
            ax.plot(
                numbers,
                [0.02] * len(numbers),
                marker,
                transform=ax.get_xaxis_transform(),
                color=GREY,
                label=word,
                clip_on=False,
            )
    ax.set(xlabel="trial", ylabel=search.title)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def draw_slices(search: SearchResult) -> Figure:
    """Objective against each hyperparameter, a panel each."""
    names = search.parameters
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(max(3.4, 1.9 * columns + 0.5), 1.9 * lines + 0.3), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for ax in panels.ravel()[len(names) :]:
        ax.remove()
    for ax, name in zip(panels.ravel(), names, strict=False):
        done = [t for t in search.trials("COMPLETE") if name in t.params]
        places = _places(ax, search, name)
        ax.scatter(
            [places(t.params[name]) for t in done], [search.value(t) for t in done], c=[t.number for t in done],
            cmap="Blues", vmin=-len(done) / 2, s=14, edgecolors=GREY, linewidths=0.3, zorder=3,
        )  # fmt: skip
        pruned = [t for t in search.trials("PRUNED") if name in t.params]
        ax.plot(
            [places(t.params[name]) for t in pruned],
            [0.03] * len(pruned),
            "x",
            transform=ax.get_xaxis_transform(),
            color=GREY,
        )
        ax.set_xlabel(name)
    for ax in panels[:, 0]:
        ax.set_ylabel(search.title)
    return figure


def _places(ax: Axes, search: SearchResult, name: str) -> Any:
    """How a hyperparameter's values lie on the x axis, which is set up for them."""
    distribution = search.distribution(name)
    choices = getattr(distribution, "choices", None)
    if choices is None:
        if getattr(distribution, "log", False):
            ax.set_xscale("log")
        return lambda value: value
    ax.set_xticks(
        range(len(choices)), [str(c) for c in choices], rotation=30 if max(len(str(c)) for c in choices) > 4 else 0
    )
    ax.margins(x=0.2)
    return choices.index


def draw_importances(shares: list[Importance]) -> Figure:
    """A bar a hyperparameter with the level of chance."""
    figure = Figure(figsize=(4.0, 0.26 * len(shares) + 0.8), layout="constrained")
    ax = figure.subplots()
    y = range(len(shares))
    ax.barh(
        y,
        [s.share for s in shares],
        color=[COLOURS[0] if s.share > s.chance else "#b5c7d6" for s in shares],
        height=0.6,
    )
    ax.plot(
        [s.chance for s in shares], y, "|", color="black", markersize=11, markeredgewidth=1.4, label="95 % of chance"
    )
    ax.set_yticks(y, [s.name for s in shares])
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("share of importance")
    figure.legend(loc="outside upper center")
    return figure


def draw_parallel(search: SearchResult) -> Figure:
    """Finished trials as lines over one axis a hyperparameter, each from its smallest to its largest value."""
    import matplotlib

    names, trials = search.common, search.trials("COMPLETE")
    columns = [_unit(search, name, [t.params[name] for t in trials]) for name in names]
    values = np.array([search.value(t) for t in trials])
    height = (values - values.min()) / (np.ptp(values) or 1.0)
    better = height if DIRECTIONS[search.objective] == "maximize" else 1 - height
    order = np.argsort(better)
    lines = np.column_stack([*(c[0] for c in columns), height])
    figure = Figure(figsize=(max(4.4, 1.15 * (len(names) + 1)), 2.8), layout="constrained")
    ax = figure.subplots()
    palette = matplotlib.colormaps["Blues"]
    for index in order:
        best = index == order[-1]
        ax.plot(
            lines[index],
            color=COLOURS[1] if best else palette(0.25 + 0.75 * better[index]),
            linewidth=2.2 if best else 0.9,
        )
    ends = [*(c[1] for c in columns), (f"{values.min():.4g}", f"{values.max():.4g}")]
    for x, (low, high) in enumerate(ends):
        ax.annotate(low, (x, 0), (0, -4), textcoords="offset points", ha="center", va="top", fontsize=6.5, color=GREY)
        ax.annotate(
            high, (x, 1), (0, 4), textcoords="offset points", ha="center", va="bottom", fontsize=6.5, color=GREY
        )
    ax.set_xticks(range(len(names) + 1), [*names, search.title.removeprefix("validation ")], rotation=20)
    ax.tick_params(axis="x", length=0, pad=12)
    ax.set_yticks([])
    ax.set_ylim(-0.02, 1.02)
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_visible(False)
    ax.grid(visible=True, axis="x", color=GREY, linewidth=0.8)
    return figure


def _unit(search: SearchResult, name: str, values: list[Any]) -> tuple[np.ndarray, tuple[str, str]]:
    """Values mapped to [0, 1] over their range (in the logarithm where the search is), and what its ends are."""
    distribution = search.distribution(name)
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        numbers = np.array([choices.index(v) for v in values], float)
        return numbers / max(1, len(choices) - 1), (str(choices[0]), str(choices[-1]))
    numbers = np.array(values, float)
    scaled = np.log(numbers) if getattr(distribution, "log", False) else numbers
    return (scaled - scaled.min()) / (np.ptp(scaled) or 1.0), (f"{numbers.min():.3g}", f"{numbers.max():.3g}")
