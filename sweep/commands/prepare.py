"""``python -m sweep prepare``: decode the media of one dataset, and say all about its cache."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

import data
from data.base import DatasetOptions, check_sizes
from data.base.class_notes import class_notes
from data.prepared.cache.folder import cache_root, size
from data.prepared.source import PreparedSource
from sweep.commands.console import terminal
from sweep.commands.exit_codes import DONE
from sweep.config import ConfigError
from sweep.config.problems import COMMAND_LINE, Place, Problem, require_name
from sweep.config.schema_errors import explain
from sweep.config.yaml_lines import parse
from sweep.engine import interrupts
from sweep.engine.on_ray.session import RaySession
from sweep.engine.prepare import prepare
from sweep.engine.prepare_display import preparation_name


def run_command(options: argparse.Namespace) -> int:
    """Prepare the dataset that is named. Raises ConfigError, DataError."""
    interrupts.install()
    with RaySession(options.address) as ray:
        prepare_dataset(options.dataset, options.root, options.names, options.local, ray, terminal())
    return DONE


def prepare_dataset(
    dataset: str, root: Path | None, words: Sequence[str], local: bool, ray: RaySession, out: Console
) -> None:
    """Prepare one dataset, and say all about its cache. Raises ConfigError, DataError."""
    options = _options(dataset, root, words)
    source = data.get(dataset)
    check_sizes(source.samples(options))
    if not issubclass(source, PreparedSource):
        loaded = source.load(options)
        counts = ", ".join(f"{len(s)} {n}" for n, s in zip(("training", "validation", "test"),
                           (loaded.train, loaded.validation, loaded.test), strict=True))  # fmt: skip
        out.print(f"{dataset}: ready, {counts} samples")
        return
    work = source.preparation(options)
    meta = prepare(work, local, ray, out)
    kept, total = sum(meta.samples.values()), work.size + len(work.listing.missing)
    where = cache_root() if work.folder.meta() is not None else "every node"
    out.print(f"{preparation_name(work)}: {kept} of {total} samples in {where}, {size(meta.bytes)}", soft_wrap=True)
    labels: dict[str, list[int]] = {
        split: [item.label for item in items] for split, items in work.listing.splits.items()
    }
    for note in [*work.listing.notes, *work.repeats(), *class_notes(work.listing.classes, labels)]:
        out.print(f"  {note}", soft_wrap=True, highlight=False, markup=False)
    for name, why in [*work.listing.missing, *((s.id, s.reason) for s in meta.skipped)]:
        out.print(f"  left out: {name} ({why})", soft_wrap=True, highlight=False, markup=False)


def _options(dataset: str, root: Path | None, words: Sequence[str]) -> DatasetOptions:
    """Read the options of a dataset from key=value words, and its root. Raises ConfigError with every mistake."""
    require_name(data.DATASETS, dataset)
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
