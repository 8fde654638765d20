"""The records of many runs as columns, read fast: files several at a time, and without checking every record again, for
it was checked when it was written."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from sweep.runs.shown_text import printable
from sweep.storage.files import StoreError, read_file

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

COSTS = ("seconds", "seconds_per_epoch", "samples", "forward_passes", "samples_per_second", "peak_memory_mib")

TEST_SAMPLES = "test_samples"
"""The column that holds the number of samples in the test split."""

FOLDERS = "env.folders."
"""What the columns begin with that tell the code of data/, methods/, models/ and sweep/ outside every identity."""

_SEED = re.compile(rb'"seed": ?\d+(?=[,\s}])')

RUN_FILES = ("config.json", "environment.json", "final.json", "test.json")
EPOCH_FILE = "metrics.jsonl"
CONFIG = ("fingerprint", "workers", "metric", "epochs", "patience", "numerics")
"""What of a configuration has a column of its name."""
SECTIONS = {"hyperparameters": "hp.", "train": "train.", "data": "data.", "encoders": "encoder."}
"""Parts of a configuration, and what their columns' names begin with."""

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
        """Add ``count`` rows at once, by column."""
        for name, values in several.items():
            column = self._columns.setdefault(name, [])
            column.extend([None] * (self._rows - len(column)))
            column.extend(values)
        self._rows += count

    def columns(self) -> dict[str, list[Any]]:
        """Return every column, None where a row lacks it."""
        return {name: column + [None] * (self._rows - len(column)) for name, column in self._columns.items()}

    def frame(self) -> pd.DataFrame:
        import pandas as pd  # here, so that reading an index alone stays fast

        return pd.DataFrame(self.columns())


def as_columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows into columns, None where a row lacks one."""
    names = dict.fromkeys(itertools.chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in names}


def read_runs(folder: Path, hashes: Iterable[str]) -> dict[str, list[Any]]:
    """Read what the folders of runs say, as columns, a row each in the order of ``hashes``."""
    table, known = Columns(), dict[bytes, dict[str, Any]]()
    found = _read_files(folder, hashes, RUN_FILES)
    while several := list(itertools.islice(found, AT_ONCE)):
        table.extend(_run_columns(folder, several, known), len(several))
    return table.columns()


def read_epochs(folder: Path, hashes: Iterable[str]) -> pd.DataFrame:
    """Read every epoch of runs, a row each, with the column ``hash``. Of one written twice (a resumed run) the last
    stands."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    parts, names, counts = list[pa.Table](), list[str](), list[int]()
    written = ((name, content) for name, (content,) in _read_files(folder, hashes, (EPOCH_FILE,)) if content)
    while several := dict(itertools.islice(written, AT_ONCE)):
        # As typed columns from the start: the numbers of a million epochs would be too many objects.
        part, epochs = _epoch_table(folder, several)
        parts.append(part)
        names += several
        counts += epochs
    if not sum(counts):
        return pd.DataFrame({"hash": [], "epoch": []}, dtype=object)
    frame = pa.concat_tables(parts, promote_options="permissive").to_pandas()
    frame = frame.assign(_run=np.repeat(np.arange(len(names)), counts)).drop_duplicates(["_run", "epoch"], keep="last")
    frame = frame.sort_values(["_run", "epoch"], ignore_index=True)
    frame.insert(0, "hash", np.array(names, dtype=object)[frame.pop("_run")])
    return frame


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records of a file with one a line, none where there is no file; see :func:`parse_records`."""
    content = _read_bytes(str(path))
    return parse_records(content, path) if content else []


def run_stamps(folder: Path, hashes: Iterable[str]) -> tuple[tuple[int, int] | None, ...]:
    """Stamp the files of each run, one after another: time and size, or None for one that is not there.

    All of them, not only what a run writes last: a damaged one may be put back from elsewhere."""
    return tuple(_file_stamp(f"{folder}/{name}/{file}") for name in hashes for file in (*RUN_FILES, EPOCH_FILE))


def _file_stamp(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


# Files -------------------------------------------------------------------------------------------------------------


def _read_files(folder: Path, hashes: Iterable[str], names: Sequence[str]) -> Iterator[tuple[str, list[bytes | None]]]:
    """Read files of runs, None for one that is not there."""

    def several(some: Sequence[str]) -> list[tuple[str, list[bytes | None]]]:
        return [(run_hash, [_read_bytes(f"{folder}/{run_hash}/{name}") for name in names]) for run_hash in some]

    with ThreadPoolExecutor(THREADS) as pool:
        for part in _chunks(list(hashes), AT_ONCE):
            # A part as a whole: threads that read while another one parses only wait for each other.
            for found in list(pool.map(several, _chunks(part, AT_ONCE // THREADS))):
                yield from found


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _read_bytes(path: str) -> bytes | None:
    try:
        return read_file(path)
    except NotADirectoryError:
        return None
    except IsADirectoryError as error:
        raise StoreError(f"{path} is a folder, where a file is needed: remove it, and run the sweep again") from error


def parse_records(content: bytes, path: Path) -> list[dict[str, Any]]:
    """Parse the records of a file with one a line. A torn last line is no record yet; any other that cannot be read is
    left out with a warning."""
    lines = content.splitlines()
    try:
        found: list[dict[str, Any]] = from_json(b"[" + b",".join(lines) + b"]", cache_strings="keys")
    except ValueError:
        found = []
    if len(found) == len(lines) and all(isinstance(record, dict) for record in found):
        return found
    return [record for number, line in enumerate(lines) if (record := _parse_record(line, path, number, len(lines)))]


def _parse_record(line: bytes, path: Path, number: int, of: int) -> dict[str, Any] | None:
    try:
        record = from_json(line)
    except ValueError as error:
        if number + 1 < of:
            warn_of_line(path, number, str(error))
        return None
    if not isinstance(record, dict):
        warn_of_line(path, number, "it is no record")
        return None
    return record


def warn_of_line(path: Path, number: int, why: str) -> None:
    """Warn of a line, counted from 0, that is left out."""
    warnings.warn(f"{path}, line {number + 1} cannot be read ({why}): it is left out", stacklevel=2)


def _parse_json(content: bytes | None, folder: str, name: str) -> dict[str, Any]:
    """Parse a whole file, {} where there is none; one that cannot be read is left out with a warning."""
    if content is None:
        return {}
    try:
        found = from_json(content, cache_strings="all")
    except ValueError as error:
        _warn_of_file(folder, name, str(error))
        return {}
    if why := _wrong_types(found, name):
        _warn_of_file(folder, name, why)
        return {}
    record: dict[str, Any] = found
    return record


def _warn_of_file(folder: str, name: str, why: str) -> None:
    warnings.warn(f"{folder}/{name} cannot be read ({why}): run the sweep again", stacklevel=3)


def _wrong_types(found: Any, name: str) -> str:
    """Say what in a record is of a type that no table can hold; "" where nothing is."""
    if not isinstance(found, dict):
        return "it is no record"
    for key in ("metrics", "packages", "folders", *SECTIONS):
        if key in found and not isinstance(found[key], dict):
            return f"{key} is no mapping"
    for key in ("command", "gpus"):
        if not all(isinstance(part, str) for part in found.get(key, ())):
            return f"{key} is no list of words"
    if not all(isinstance(value, float | int | None) for value in found.get("metrics", {}).values()):
        return "a metric is no number"
    if name == "test.json" and not isinstance(found.get("samples"), int | None):
        return "samples is no number"
    if name == "final.json" and found.get("status") not in ("done", "pruned", "diverged", "failed"):
        return "it has no status"
    return ""


# Columns -----------------------------------------------------------------------------------------------------------


def _run_columns(
    folder: Path, several: Sequence[tuple[str, list[bytes | None]]], known: dict[bytes, dict[str, Any]]
) -> dict[str, list[Any]]:
    """Collect the columns of several runs, each with the contents of its files. known: the columns of configurations
    and environments met so far."""
    configs, finals, tests = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    environments = list[dict[str, Any]]()
    for run_hash, (config, environment, final, test) in several:
        run = f"{folder}/{run_hash}"
        configs.append(_config_columns(config, run, known))
        environments.append(_environment_columns(environment, run, known))
        finals.append(_parse_json(final, run, "final.json"))
        tests.append(_parse_json(test, run, "test.json") if finals[-1] else {})
        if (damaged := _missing_record(finals[-1], configs[-1], tests[-1])) is not None:
            if (config if damaged == "config.json" else test) is None:
                _warn_of_file(run, damaged, "it is missing")
            # As the engine sees it: a run with damaged records has not ended.
            finals[-1], tests[-1] = {}, {}
    columns = as_columns(configs)
    columns |= as_columns(
        [_end_columns(final, folder / run_hash) for final, (run_hash, _) in zip(finals, several, strict=True)]
    )
    pairs = zip(finals, tests, strict=True)
    columns |= as_columns([final.get("metrics", {}) | test.get("metrics", {}) for final, test in pairs])
    columns |= {TEST_SAMPLES: [test.get("samples") for test in tests]}
    columns |= {"split_draws": [test.get("split_draws") for test in tests]}
    return columns | as_columns(environments)


def _missing_record(final: Mapping[str, Any], config: Mapping[str, Any], test: Mapping[str, Any]) -> str | None:
    """Name the record without which an end does not count."""
    if final.get("status") in ("done", "pruned", "diverged") and not config:
        return "config.json"
    return "test.json" if final.get("status") == "done" and not test else None


def _end_columns(final: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """Collect the columns of how a run ended; of one that has not, whether it has begun."""
    if not final:
        return {"status": "running" if read_records(run / EPOCH_FILE) else "missing"}
    ended = {key: final.get(key) for key in ("status", "reason", "cause", "epochs_trained", "attempts", *COSTS)}
    return ended | {"epoch": final.get("selected_epoch")}


def _config_columns(content: bytes | None, folder: str, known: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    """Collect the columns of a configuration. ``known`` are those met so far, by all but the seed, which has none."""
    # Where a hyperparameter or an option is called seed, too, nothing is shared.
    shared = _SEED.sub(b"", content) if content and len(_SEED.findall(content)) == 1 else content
    if shared is not None and shared in known:
        return known[shared]
    config = _parse_json(content, folder, "config.json")
    columns = {name: config[name] for name in CONFIG if name in config}
    for section, prefix in SECTIONS.items():
        columns |= {prefix + name: table_value(value) for name, value in config.get(section, {}).items()}
    if columns and shared is not None:
        known[shared] = columns
    return columns


def _environment_columns(content: bytes | None, folder: str, known: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
    """Collect the columns of an environment. ``known`` are those met so far: thousands of runs share all but when they
    started."""
    if content is None:
        return {}
    shared, _, started = content.rpartition(b'"started":')
    if shared and shared in known:
        return known[shared] | {"env.started": started.decode(errors="replace").strip(' \n}"')}
    environment = _parse_json(content, folder, "environment.json")
    packages = environment.pop("packages", {})
    if "command" in environment:
        environment["command"] = shlex.join(environment["command"])
    if "gpus" in environment:
        environment["gpus"] = ", ".join(environment["gpus"])
    folders = environment.pop("folders", {})
    columns = {f"env.{name}": table_value(value) for name, value in environment.items()}
    columns |= {f"{FOLDERS}{name}": found for name, found in folders.items()}
    columns |= {f"env.packages.{name}": version for name, version in packages.items()}
    if environment:
        known[shared] = columns
    return columns


def _epoch_table(folder: Path, several: Mapping[str, bytes]) -> tuple[pa.Table, list[int]]:
    """Parse the lines of metrics.jsonl of runs into one table; also return how many each run has."""
    import pyarrow as pa

    try:
        return _table_of_lines(list(several.values()))
    except pa.ArrowInvalid:
        return _table_of_lines(
            [_readable_lines(content, folder / name / EPOCH_FILE) for name, content in several.items()]
        )


def _table_of_lines(contents: Sequence[bytes]) -> tuple[pa.Table, list[int]]:
    """Parse records of files with one a line; also return how many each file has. Raises ArrowInvalid where one cannot
    be read."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    counts = [content.count(b"\n") + (not content.endswith(b"\n") and content != b"") for content in contents]
    if not sum(counts):
        return pa.table({}), counts
    table = arrow_json.read_json(pa.BufferReader(b"\n".join(contents))).flatten()
    if len(table) != sum(counts):
        raise pa.ArrowInvalid("records and lines are not the same number")
    names = [name.split(".", 1) for name in table.column_names]
    return table.rename_columns([GROUPS[n[0]] + n[1] if n[0] in GROUPS else ".".join(n) for n in names]), counts


def _readable_lines(content: bytes, path: Path) -> bytes:
    """Keep the lines of a file that are records; see :func:`parse_records`."""
    lines = content.splitlines()
    return b"\n".join(line for number, line in enumerate(lines) if _is_epoch(line, path, number, len(lines)))


def _is_epoch(line: bytes, path: Path, number: int, of: int) -> bool:
    record = _parse_record(line, path, number, of)
    if record is None:
        return False
    groups = [record.get(group) for group in GROUPS]
    numbers = [record.get(name) for name in ("epoch", "loss", "learning_rate", *COSTS[:1])]
    numbers += [value for group in groups if isinstance(group, dict) for value in group.values()]
    right = all(isinstance(group, dict) for group in groups) and all(isinstance(n, float | int | None) for n in numbers)
    if not right:
        warn_of_line(path, number, "it is no record of an epoch")
    return right


def table_value(value: Any) -> Any:
    """Fit a value to a table: lists and objects as JSON, texts without what commands terminals."""
    if isinstance(value, str):
        return printable(value)
    return json.dumps(value) if isinstance(value, (list, dict)) else value
