"""Completeness of a sweep: the runs that it asks for, and how far each of its configurations got."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from pydantic import ValidationError

from data.base import DataError
from sweep.analysis.statistics import grouped, split_of
from sweep.config import ConfigError, Sweep, load_frozen
from sweep.config.schema import Objective
from sweep.config.yaml_lines import read
from sweep.plan.build import plan
from sweep.plan.not_applicable import NotApplicable, not_applicable
from sweep.results.columns import read_records
from sweep.results.outline import Outline, kept_outline
from sweep.search.racing import Decision

STUDY = ["label", "dataset", "role"]
CONFIGURATION = [*STUDY, "configuration"]
RacedOut = Mapping[tuple[str, str, int, str], int]
"""(label, dataset, split, configuration) -> seeds after which it was out of the race."""
COMPLETE = "complete"


@dataclass(frozen=True)
class SweepRequest:
    """The frozen sweep.yaml, as far as a report needs it.

    expected_runs: runs in all; None where the sweep cannot be planned here any more (its data is gone, the file is not
    there)."""

    title: str | None
    reproduces: str | None
    objectives: tuple[Objective, ...]
    seeds: int
    budget: str
    expected_runs: int | None


def read_request(folder: Path) -> SweepRequest:
    """Read what the sweep in ``folder`` asked for."""
    path = folder / "sweep.yaml"
    document = _read_frozen(path) if path.exists() else {}
    written = _mapping(_mapping(document.get("sweeps")).get(folder.name, document))
    search, limits = _mapping(written.get("search")), _mapping(written.get("budget"))
    return SweepRequest(
        title=_text(written.get("title")),
        reproduces=_text(written.get("reproduces")),
        objectives=tuple(name for name in _list(search.get("objectives")) if name in get_args(Objective)),
        seeds=len(_list(written.get("seeds"))),
        budget=" or ".join(f"{amount:g} {unit}" for unit, amount in limits.items() if isinstance(amount, int | float)),
        expected_runs=_expected_runs(path) if "sweeps" in document else None,
    )


def _read_frozen(path: Path) -> dict[str, Any]:
    """Read a frozen file, of this version or an earlier one; of one that cannot be read warn, and take nothing."""
    try:
        return read(path).values
    except ConfigError as error:
        warnings.warn(f"{error}; the report does without it, running the sweep again writes it anew", stacklevel=3)
        return {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _expected_runs(path: Path) -> int | None:
    if (outlined := plan_outline(path.parent)) is not None:
        return outlined.expected
    try:
        return _planned_runs(path, path.read_bytes())
    except (ConfigError, DataError, OSError):
        return None


def plan_outline(folder: Path) -> Outline | None:
    """Return the outline of the sweep that is frozen in ``folder``; None where none is kept."""
    found = kept_outline(folder)
    try:
        return found if found is not None and (folder / "sweep.yaml").read_text() == found.frozen else None
    except (OSError, UnicodeDecodeError):
        return None


def frozen_sweep(path: Path) -> Sweep:
    """Load a frozen sweep, once a report: of thousands of configurations that takes seconds. Raises ConfigError,
    OSError."""
    return _frozen(path, path.read_bytes())


@lru_cache(maxsize=1)
def _frozen(path: Path, content: bytes) -> Sweep:
    return load_frozen(path)


@lru_cache(maxsize=1)
def _planned_runs(path: Path, content: bytes) -> int | None:
    """Count the runs that a frozen sweep with this content asks for, once a report."""
    return plan(_frozen(path, content)).expected_runs()


def left_out_configurations(folder: Path) -> list[NotApplicable]:
    """List the configurations that the sweep in ``folder`` left out because their method refuses them; none where it
    cannot be read here any more."""
    if (outlined := plan_outline(folder)) is not None:
        return [NotApplicable(each.label, each.dataset, each.values, each.reason) for each in outlined.left_out]
    try:
        return not_applicable(frozen_sweep(folder / "sweep.yaml"))
    except (ConfigError, OSError):
        return []


def raced_out_seeds(folder: Path) -> RacedOut:
    """Read which configurations of the sweep in ``folder`` are out of the race, each with its number of seeds."""
    out = {}
    for line in read_records(folder / "race.jsonl"):
        try:
            decision = Decision.model_validate(line)
        except ValidationError:
            continue  # torn: a race decides anew what it cannot read
        if not decision.stays:
            split = -1 if decision.split is None else decision.split
            out[decision.label, decision.dataset, split, decision.configuration] = len(decision.seeds)
    return out


def completeness_table(rows: pd.DataFrame, seeds: int = 0, out: RacedOut | None = None) -> pd.DataFrame:
    """Tell of each configuration, in order of appearance, whether it may be ranked, and if not why.

    Columns label, dataset, role, configuration, n (finished seeds), epochs (most trained), state ("complete", or why it
    is not) and ranked, true where all its seeds have finished. Means over different numbers of seeds are no ranking.

    seeds: how many each should have on a split but under report seeds; 0: as many as the one that has most in its
    study."""
    seen = rows[[c for c in ("hash", *CONFIGURATION, "status", "split", "epochs_trained") if c in rows]]
    seen = seen.drop_duplicates(["hash", *CONFIGURATION])
    group, table = grouped(seen, CONFIGURATION)
    split, status = split_of(seen), seen["status"].to_numpy(object)

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(group[chosen], minlength=len(table))

    words = {word: count(status == word) for word in ("done", "pruned", "failed", "diverged")}
    epochs = pd.Series(seen.get("epochs_trained", 0), seen.index).groupby(group).max()
    raced = count(_raced_out(seen, split, out)) > 0 if out else False
    table = table.assign(**words, epochs=epochs, splits=split.groupby(group).nunique(), out=raced)
    # Of a search a configuration may have been proposed on one split and not on another.
    alone = table["done"] / table["splits"]
    most = alone.groupby([table[name] for name in STUDY], sort=False).transform("max")
    wanted = most.where(table["role"].eq("report"), seeds) if seeds else most
    table["ranked"] = alone.ge(wanted) & table["done"].gt(0)
    table["state"] = [_state(row, row["out"]) for row in table.to_dict("records")]
    return table.rename(columns={"done": "n"})[[*CONFIGURATION, "n", "epochs", "state", "ranked"]]


def _raced_out(rows: pd.DataFrame, split: pd.Series, out: RacedOut) -> np.ndarray:
    """Tell which rows are of a configuration that is out of the race, on their split or on all."""
    keys = zip(rows["label"], rows["dataset"], split, rows["configuration"], strict=True)
    return np.array([key in out or (*key[:2], -1, key[3]) in out for key in keys], bool)


def _state(row: dict[Any, Any], out: bool) -> str:
    n, seeds = row["done"], "seed" if row["done"] == 1 else "seeds"
    if row["ranked"]:
        return COMPLETE
    if out:
        return f"out of the race after {n} {seeds}"
    if row["pruned"]:
        return f"pruned after {row['epochs']:g} epochs"
    lost = [f"{row[word]} {word}" for word in ("failed", "diverged") if row[word]]
    return ", ".join(lost) if lost else f"{n} {seeds} so far"
