"""The records of many runs as columns, read fast: files several at a time, and without checking every record again, for
it was checked when it was written."""

from __future__ import annotations

import json
import os
import shlex
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("seconds", "seconds_per_epoch", "samples", "forward_passes", "samples_per_second", "peak_memory_mib")

RUN_FILES = ("config.json", "environment.json", "final.json", "test.json")

T = TypeVar("T")

GROUPS = {"metrics": "", "diagnostics": "diag."}
"""Numbers of an epoch that have names of their own, and what their columns' names begin with."""

THREADS = 8
AT_ONCE = 500
"""Runs whose files are held in memory at a time."""


class Columns:
    """Rows of different keys, collected as columns."""

    def __init__(self, *names: str) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in names}
        self._rows = 0

    def extend(self, several: Mapping[str, Sequence[Any]], count: int) -> None:
        """``count`` rows at once, by column."""
        for name, values in several.items():
            column = self._columns.setdefault(name, [])
            column.extend([None] * (self._rows - len(column)))
            column.extend(values)
        self._rows += count

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Several rows."""
        for some in _parts(rows, AT_ONCE):
            self.extend(turned(some), len(some))

    def frame(self) -> pd.DataFrame:
        import pandas as pd  # here, so that reading an index alone stays fast

        return pd.DataFrame(
            {name: column + [None] * (self._rows - len(column)) for name, column in self._columns.items()}
        )


def turned(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns, None where a row lacks one."""
    names = list(rows[0])
    if all(list(row) == names for row in rows):
        # The usual case, without a look-up for each cell: there are millions.
        return dict(zip(names, map(list, zip(*(row.values() for row in rows), strict=True)), strict=True))
    every = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in every}


def read_runs(folder: Path, hashes: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the folders of runs say, as columns, in the order of ``hashes``."""
    environments: dict[bytes, dict[str, Any]] = {}
    for run_hash, contents in _read(folder, hashes, RUN_FILES):
        yield run_hash, _row(f"{folder}/{run_hash}", dict(zip(RUN_FILES, contents, strict=True)), environments)


def read_epochs(folder: Path, hashes: Iterable[str]) -> pd.DataFrame:
    """Every epoch of runs, a row each, with the column ``hash``."""
    import pandas as pd

    parts = []
    for several in _parts(list(hashes), 4 * AT_ONCE):
        table = Columns("hash", "epoch")
        for run_hash, (content,) in _read(folder, several, ("metrics.jsonl",)):
            if content:
                _add_epochs(table, run_hash, records(content, folder / run_hash / "metrics.jsonl"))
        parts.append(table.frame())
    # Parts as typed columns: the numbers of a million epochs would be too many objects.
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else Columns("hash", "epoch").frame()


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Records of a file with one a line, none where there is no file; see :func:`records`."""
    content = _bytes(str(path))
    return records(content, path) if content else []


def stamps(folder: Path, hashes: Iterable[str]) -> tuple[tuple[int, int] | None, ...]:
    """What changes whenever one of the runs does: time and size of what it wrote last."""
    return tuple(_stamp(f"{folder}/{name}/final.json") or _stamp(f"{folder}/{name}/metrics.jsonl") for name in hashes)


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


# Files -------------------------------------------------------------------------------------------------------------


def _read(folder: Path, hashes: Iterable[str], names: Sequence[str]) -> Iterator[tuple[str, list[bytes | None]]]:
    """Contents of files of runs, None for one that is not there."""

    def several(some: Sequence[str]) -> list[tuple[str, list[bytes | None]]]:
        return [(run_hash, [_bytes(f"{folder}/{run_hash}/{name}") for name in names]) for run_hash in some]

    with ThreadPoolExecutor(THREADS) as pool:
        for part in _parts(list(hashes), AT_ONCE):
            for found in pool.map(several, _parts(part, AT_ONCE // THREADS)):
                yield from found


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        return None


def records(content: bytes, path: Path) -> list[dict[str, Any]]:
    """Records of a file with one a line. A torn last line is no record yet; any other that cannot be read is left out
    with a warning."""
    lines = content.splitlines()
    try:
        found: list[dict[str, Any]] = from_json(b"[" + b",".join(lines) + b"]", cache_strings="keys")
        return found
    except ValueError:
        return [record for number, line in enumerate(lines) if (record := _record(line, path, number, len(lines)))]


def _record(line: bytes, path: Path, number: int, of: int) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = from_json(line)
    except ValueError as error:
        if number + 1 < of:
            warnings.warn(f"{path}, line {number + 1} cannot be read ({error}): it is left out", stacklevel=2)
        return None
    return record


def _json(content: bytes | None, folder: str, name: str) -> dict[str, Any]:
    """A whole file, {} where there is none; one that cannot be read is left out with a warning."""
    if content is None:
        return {}
    try:
        found: dict[str, Any] = from_json(content, cache_strings="all")
    except ValueError as error:
        warnings.warn(f"{folder}/{name} cannot be read ({error}): run the sweep again", stacklevel=2)
        return {}
    return found


# Rows --------------------------------------------------------------------------------------------------------------


def _row(folder: str, contents: Mapping[str, bytes | None], known: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    config, final = (_json(contents[name], folder, name) for name in ("config.json", "final.json"))
    row: dict[str, Any] = {
        key: config[key] for key in ("fingerprint", "workers", "metric", "epochs", "patience") if key in config
    }
    for prefix, key in (("hp.", "hyperparameters"), ("train.", "train"), ("data.", "data"), ("encoder.", "encoders")):
        row |= prefixed(prefix, config.get(key, {}))
    if final:
        row |= {key: final.get(key) for key in ("status", "reason", "cause", "epochs_trained", "attempts", *COSTS)}
        row["epoch"] = final.get("selected_epoch")
        row |= final.get("metrics", {}) | _json(contents["test.json"], folder, "test.json").get("metrics", {})
    else:
        row["status"] = "running" if read_lines(Path(folder, "metrics.jsonl")) else "missing"
    return row | _environment(contents["environment.json"], folder, known)


def _environment(content: bytes | None, folder: str, known: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    """Columns of an environment. ``known`` are those met so far: thousands of runs share all but when they started."""
    if content is None:
        return {}
    shared, _, started = content.rpartition(b'"started":')
    if shared and shared in known:
        return known[shared] | {"env.started": started.decode(errors="replace").strip(' \n}"')}
    environment = _json(content, folder, "environment.json")
    packages = environment.pop("packages", {})
    if "command" in environment:
        environment["command"] = shlex.join(environment["command"])
    if "gpus" in environment:
        environment["gpus"] = ", ".join(environment["gpus"])
    columns = prefixed("env.", environment) | prefixed("env.packages.", packages)
    if environment:
        known[shared] = columns
    return columns


def _add_epochs(table: Columns, run_hash: str, records: list[dict[str, Any]]) -> None:
    """The epochs of one run; of one written twice (a resumed run) the last stands."""
    found = {record["epoch"]: record for record in records}
    ordered = [found[epoch] for epoch in sorted(found)]
    if not ordered:
        return
    columns: dict[str, list[Any]] = {"hash": [run_hash] * len(ordered)}
    columns |= turned([{key: value for key, value in record.items() if key not in GROUPS} for record in ordered])
    for group, prefix in GROUPS.items():
        numbers = turned([record[group] for record in ordered])
        columns |= {prefix + name: values for name, values in numbers.items()}
    table.extend(columns, len(ordered))


def prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as columns of a group."""
    return {prefix + key: cell(value) for key, value in values.items()}


def cell(value: Any) -> Any:
    """A value that fits a table: lists and objects as JSON."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value
