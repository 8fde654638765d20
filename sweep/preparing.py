"""Media decoded before anything is trained: what is to be prepared, where that is done, and how it is told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

import data
from data.base import DatasetOptions
from data.prepared.cache import Preparation, Watcher
from data.prepared.cache import prepare as prepare_here
from data.prepared.folder import Meta, size
from data.prepared.pool import pooled, processors
from data.prepared.source import PreparedSource
from sweep.config import ConfigError
from sweep.config.messages import explain
from sweep.config.problems import COMMAND_LINE, Place, Problem, nearest
from sweep.config.source import parse
from sweep.later_options import with_later
from sweep.plan import Plan
from sweep.progress import LOG_EVERY

if TYPE_CHECKING:
    from sweep.engine.ray_session import RaySession


def command(dataset: str, root: Path | None, words: Sequence[str], local: bool, ray: RaySession, out: Console) -> None:
    """Prepare one dataset, and say all about its cache. Raises ConfigError, DataError."""
    options = _options(dataset, root, words)
    source = data.get(dataset)
    if not issubclass(source, PreparedSource):
        loaded = source.load(options)
        counts = ", ".join(f"{len(s)} {n}" for n, s in zip(("training", "validation", "test"),
                           (loaded.train, loaded.validation, loaded.test), strict=True))  # fmt: skip
        out.print(f"{dataset}: ready, {counts} samples", highlight=False)
        return
    work = source.preparation(options)
    meta = prepare(work, local, ray, out)
    kept, there = sum(meta.samples.values()), work.folder.meta() is not None
    total = work.size + len(work.listing.missing)
    where = f"{work.folder.path}, {size(work.folder.disk())}" if there else f"every node, {size(meta.bytes)}"
    out.print(f"{_name(work)}: {kept} of {total} samples in {where}", highlight=False, soft_wrap=True, markup=False)
    for name, why in [*work.listing.missing, *((s.id, s.reason) for s in meta.skipped)]:
        out.print(f"  left out: {name} ({why})", highlight=False, soft_wrap=True, markup=False)


def prepare_planned(planned: Plan, local: bool, ray: RaySession, out: Console) -> None:
    """Prepare every dataset that the plan's runs are known to need. Raises DataError."""
    for work in _planned(planned):
        prepare(work, local, ray, out)


def _planned(planned: Plan) -> Iterator[Preparation]:
    templates = [c.template for c in planned.references]
    templates += [c.template for study in planned.studies for c in study.configurations]
    # What else a search proposes of the data's options is prepared when it is loaded.
    templates += [study.configuration(study.first[0]).template for study in planned.searches if study.first]
    seen = set[tuple[str, str]]()
    for run in templates:
        source = data.get(run.dataset)
        if issubclass(source, PreparedSource) and (run.dataset, run.fingerprint) not in seen:
            seen.add((run.dataset, run.fingerprint))
            yield source.preparation(source.Options.model_validate(with_later(source.Options, run.data)))


def prepare(work: Preparation, local: bool, ray: RaySession, out: Console) -> Meta:
    """Make the cache where it is missing: in processes of this machine, or on every node of Ray's. Raises DataError."""
    if local:
        if work.folder.meta() is not None:
            return prepare_here(work)
        with Display(out, work) as display:
            return prepare_here(work, pooled(processors()), display)
    ray.ensure()
    from sweep.engine.prepare import prepare_nodes

    return prepare_nodes(work, Display(out, work))


def _name(work: Preparation) -> str:
    return f"{work.dataset} ({work.profile})"


class Display(Watcher):
    """Context manager around the preparation of a dataset: one line at its begin and its end, in between a bar on a
    terminal, a line now and then in a log."""

    def __init__(self, console: Console, work: Preparation) -> None:
        self._console, self._work = console, work
        self._done, self._total = 0, work.size
        self._began = self._last_line = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> Display:
        near = next(self._work.folder.siblings(self._work.dataset, self._work.profile), None)
        changed = near and near.content.changes(self._work.content)
        why = f"; changed since the cache {near.key}: {', '.join(changed)}" if near and changed else ""
        self._say(f"{_name(self._work)}: preparing {self._work.size} samples{why}")
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        self._say(f"{_name(self._work)}: {self._counts()}, {time.monotonic() - self._began:.0f} s")

    def expect(self, total: int) -> None:
        self._total = total

    def advance(self, samples: int) -> None:
        self._done += samples
        if not self._console.is_terminal and time.monotonic() - self._last_line > LOG_EVERY:
            self._last_line = time.monotonic()
            self._say(f"{_name(self._work)}: {self._counts()}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _counts(self) -> str:
        rate, ahead = self._done / max(time.monotonic() - self._began, 1e-9), ""
        if 0 < self._done < self._total:
            ahead = f", {_duration((self._total - self._done) / rate)} left"
        return f"{self._done} of {self._total} samples prepared, {rate:.3g} a second{ahead}"

    def _render(self) -> Group:
        bar = ProgressBar(total=max(self._total, 1), completed=self._done, width=40)
        return Group(Text(f"{_name(self._work)}: {self._counts()}", style="bold"), bar)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _options(dataset: str, root: Path | None, words: Sequence[str]) -> DatasetOptions:
    """Options of a dataset by key=value words, and its root. Raises ConfigError with every mistake."""
    if dataset not in data.names():
        raise ConfigError(f"no dataset called {dataset!r}; {nearest(dataset, data.names())}")
    values: dict[str, Any] = {} if root is None else {"root": str(root.expanduser().absolute())}
    places = dict[str, Place]()
    for word in words:
        key, equals, value = word.partition("=")
        place = Place(COMMAND_LINE, None, word)
        if not equals or not value.strip():
            raise ConfigError([place.problem("expected key=value", "as in profile=20s")])
        name, *rest = key.strip().removeprefix(f"data.{dataset}.").split(".")
        places[name] = place
        found, _ = parse(value, lambda path, line, place=place: place)  # type: ignore[misc]
        at = values
        for part in (name, *rest)[:-1]:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                raise ConfigError([place.problem(f"{part} is no mapping, so nothing lies below it")])
        at[(name, *rest)[-1]] = found
    options = data.get(dataset).Options
    try:
        return options.model_validate(values)
    except ValidationError as error:
        problems = [
            places[str(wrong.path[0])].problem(wrong.message, wrong.suggestion)
            if str(wrong.path[0]) in places
            else Problem(COMMAND_LINE, None, f"data.{dataset}.{wrong.path[0]}", wrong.message, wrong.suggestion)
            for wrong in explain(error, options, values, f"option of {dataset}")
        ]
        raise ConfigError(problems) from error
