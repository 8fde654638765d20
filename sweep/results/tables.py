"""Results as data frames: the run folders are the truth, these tables are read off them.

``load("results/iprm-alpha")`` gives one row a run, ``load("results/iprm-alpha", "epoch")`` one row an epoch of a run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweep.results.columns import (
    TEST_SAMPLES,
    Columns,
    as_columns,
    parse_records,
    read_epochs,
    read_records,
    read_runs,
    run_stamps,
    table_value,
    warn_of_line,
)
from sweep.results.csv_text import write_csv
from sweep.runs.records import IndexEntry, is_run_name
from sweep.runs.severities import severities
from sweep.runs.shown_text import printable
from sweep.storage.files import guarded
from sweep.storage.remote import is_uri

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("validation", "test", "test_peak")
METRICS = ("accuracy", "map", "macro_f1")
FINISHED = ("done", "pruned", "diverged", "failed")
"""Ends that final.json records; beside them ``running`` (begun, not committed) and ``missing`` (not begun)."""

Level = Literal["run", "epoch"]

_IDENTITY = (
    "sweep",
    "method",
    "label",
    "dataset",
    "seed",
    "split",
    "status",
    "hash",
    "role",
    "configuration",
    "number",
    "point",
)
_ALWAYS = (
    *_IDENTITY,
    "reason",
    "cause",
    "epoch",
    *(f"{split}_{metric}" for split in SPLITS for metric in METRICS),
    TEST_SAMPLES,
)


class ResultsError(ValueError):
    """A folder holds no results; the message names it and the remedy."""


def load(path: str | Path, level: Level = "run") -> pd.DataFrame:
    """Load the results of one sweep (``results/NAME``) or of all sweeps (``results``), by path or URI.

    level "run": one row a run and sweep, with the columns

    - sweep, method, label, dataset, seed, split, status, hash, role, configuration, number, point, severity, reason,
      cause; severity: what of point corrupts the data (a column where something does);
      split: the split_seed of its data, which is missing where the dataset has none; split_draws: what that draws;
      status: done, pruned, diverged, failed, running (begun, not committed) or missing (not begun);
      point: the varied values as text;
    - vary.NAME as the sweep writes it (a null is the text "null", a name that a run does not vary is missing),
      hp.NAME (resolved hyperparameters), train.NAME, data.NAME, encoder.MODALITY, fingerprint, workers, metric;
    - epoch (selected on validation data), epochs (budget), epochs_trained, attempts;
    - {validation,test,test_peak}_{accuracy,map,macro_f1}[_MODALITY] in [0, 1], {validation,test}_imbalance and
      {validation,test}_shapley_MODALITY, and with MODALITY+MODALITY present alone {validation,test}_subset_...;
      {validation,test}_{nll,calibration_error,auroc}[_MODALITY]: nats, and shares in [0, 1];
      test_samples, the size of the test split;
    - seconds, seconds_per_epoch, samples, forward_passes, samples_per_second, peak_memory_mib, env.NAME.

    level "epoch": one row an epoch, with the columns that name the run, vary.NAME, hp.NAME, epoch, epochs, loss,
    learning_rate, the costs, the metrics of that epoch and diag.NAME. Of an epoch written twice (a resumed run) the
    last stands.

    A last line that a crash tore is left out; so is, with a warning that names it, any other that cannot be read. What
    was read is kept, and read again only when the index or a run has changed. Raises ResultsError where there is
    nothing to read, StoreError where a URI cannot be reached.
    """
    if level not in ("run", "epoch"):
        raise ResultsError(f"level must be 'run' or 'epoch', not {level!r}")
    return _frames(path, level)[0]


def load_both(path: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Load the rows of runs and those of their epochs as they are at one moment; see :func:`load`."""
    runs, epochs = _frames(path, "run", "epoch")
    return runs, epochs


def _frames(path: str | Path, *levels: Level) -> list[pd.DataFrame]:
    path = _locate(path)
    sweeps = _sweep_folders(path)
    folder = (path.parent if (path / "index.jsonl").exists() else path) / "runs"
    indices = [sweep / "index.jsonl" for sweep in sweeps]
    written = [index.read_bytes() for index in indices]
    entries = [
        (i.parent.name, entry) for i, content in zip(indices, written, strict=True) for entry in _index_rows(i, content)
    ]
    hashes = list(dict.fromkeys(entry["hash"] for _, entry in entries))
    name, stamp = str(path.resolve()), (*written, *run_stamps(folder, hashes))

    def frame(level: Level) -> pd.DataFrame:
        if (name, level) in _cached_frames and _cached_frames[name, level][0] == stamp:
            return _cached_frames[name, level][1]
        if level == "run":
            found = _run_rows(entries, hashes, read_runs(folder, hashes))
        else:
            runs, epochs = frame("run"), read_epochs(folder, hashes)
            found = runs[[*_IDENTITY, *columns_of(runs, "severity", "vary.", "hp.")]].merge(epochs, on="hash")
        for old in [old for old in _cached_frames if old[0] != name]:
            del _cached_frames[old]
        _cached_frames[name, level] = (stamp, found)
        return found

    return [frame(level).copy(deep=False) for level in levels]


_cached_frames: dict[tuple[str, Level], tuple[Any, pd.DataFrame]] = {}
"""The frames of the folder that was read last, each with what tells whether they still hold."""


def write_tables(
    results: str | Path, name: str, to: Path | None = None, known: tuple[pd.DataFrame, pd.DataFrame] | None = None
) -> list[Path]:
    """Write runs.parquet, runs.csv and epochs.parquet of the sweep ``name``, each atomically, into its folder or the
    folder ``to``. known: its runs and epochs, where the caller has them. Returns the paths. Raises StoreError where
    they cannot be written."""
    folder = Path(results) / name
    runs, epochs = map(_without_mixed_types, known or load_both(folder))
    paths = [(to or folder) / file for file in ("runs.parquet", "runs.csv", "epochs.parquet")]
    for target, frame in zip(paths, (runs, runs, epochs), strict=True):
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        with guarded("write", target):
            if target.suffix == ".csv":
                write_csv(frame, partial)
            else:
                frame.to_parquet(partial, index=False)
            partial.replace(target)
    return paths


def index_entries(results: str | Path, name: str) -> list[IndexEntry]:
    """List the runs of the sweep ``name`` as its index does, without lines that are damaged; none where it has not
    run."""
    known = IndexEntry.model_fields
    lines = filter(_is_entry, read_records(Path(results) / name / "index.jsonl"))
    return [IndexEntry(**{key: value for key, value in line.items() if key in known}) for line in lines]


def columns_of(frame: pd.DataFrame, *prefixes: str) -> list[str]:
    """List the columns that begin with any of ``prefixes``, in order."""
    return [str(column) for column in frame if str(column).startswith(prefixes)]


def _locate(path: str | Path) -> Path:
    """Find the folder to read: of a URI, the mirror, after the records have been brought there."""
    if not is_uri(path):
        return Path(path)
    from sweep.runs.open_store import local_folder  # needs torch, which reading alone does not

    return local_folder(str(path))


def _sweep_folders(path: Path) -> list[Path]:
    if (path / "index.jsonl").exists():
        return [path]
    found = sorted(index.parent for index in path.glob("*/index.jsonl"))
    if not found:
        raise ResultsError(f"no results in {path}: neither a sweep's folder nor a folder of sweeps; run a sweep first")
    return found


def _run_rows(
    entries: Sequence[tuple[str, dict[str, Any]]], hashes: Sequence[str], runs: Mapping[str, Sequence[Any]]
) -> pd.DataFrame:
    """Join the lines of indices with the columns of their runs; ``hashes`` are those of the runs, in order."""
    table, place = Columns(*_ALWAYS), {run_hash: number for number, run_hash in enumerate(hashes)}
    rows = [place[entry["hash"]] for _, entry in entries]
    columns = as_columns([{"sweep": sweep, **entry} for sweep, entry in entries])
    columns |= {name: [values[row] for row in rows] for name, values in runs.items()}
    recorded = columns.get("data.split_seed", [None] * len(entries))
    noted = columns.get("split", [None] * len(entries))
    # Entries of earlier versions do not say it, and runs that have not begun have no record of their data.
    columns["split"] = [seed if split is None else split for split, seed in zip(noted, recorded, strict=True)]
    table.extend(columns, len(entries))
    frame = table.frame()
    metrics = [f"{split}_{metric}" for split in SPLITS for metric in METRICS]
    frame = frame.astype(dict.fromkeys(metrics, "float64"))
    if frame.empty:
        # Of no value pandas makes a number, by which no table can be joined.
        frame = frame.astype(dict.fromkeys(_IDENTITY, "object"))
    groups = ("vary.", "hp.", "train.", "data.", "encoder.", "env.")
    rank = {prefix: number for number, prefix in enumerate(groups, start=1)}
    rank["env."] = len(groups) + 2
    order = sorted(
        map(str, frame), key=lambda c: 0 if c in _IDENTITY else rank.get(c.split(".")[0] + ".", len(groups) + 1)
    )
    return frame[order].copy()  # columns added one by one lie scattered in memory


@lru_cache(maxsize=16)
def _index_rows(index: Path, content: bytes) -> list[dict[str, Any]]:
    """Parse the lines of a sweep's index; of lines that say the same of a run the last stands."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for number, line in enumerate(parse_records(content, index)):
        if not _is_entry(line):
            warn_of_line(index, number, "it names no run")
            continue
        key = (line["hash"], line["role"], line["label"], json.dumps(line["values"]))
        values = {printable(name): value for name, value in line.pop("values").items()}
        line |= {name: printable(line[name]) for name in ("label", "dataset", "method")}
        severe = severities(values)
        line |= {"severity": point_text(severe)} if severe else {}
        point = point_text({name: value for name, value in values.items() if name not in severe} | severe)
        varied = {f"vary.{key}": "null" if value is None else table_value(value) for key, value in values.items()}
        found[key] = {**line, "point": point, **varied}
    # Studies take turns while they run; a reader wants each in one piece.
    first: dict[tuple[str, str], int] = {}
    for row in found.values():
        first.setdefault((row["label"], row["dataset"]), len(first))
    return sorted(found.values(), key=lambda row: first[row["label"], row["dataset"]])


def _is_entry(line: Mapping[str, Any]) -> bool:
    """Tell whether a line of an index names a run: all that was written by this version or an earlier one does."""
    texts = ("hash", "method", "label", "dataset", "role", "configuration")
    numbers = (line.get("seed"), line.get("split") or 0, line.get("number") or 0)
    whole = all(isinstance(line.get(name), str) for name in texts) and all(map(_is_whole, numbers))
    known = line.get("role") in ("sweep", "reference", "report")
    return whole and known and isinstance(line.get("values"), dict) and is_run_name(line["hash"])


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63


def point_text(values: Mapping[str, Any]) -> str:
    """Write varied values as the column ``point`` has them."""
    return ", ".join(f"{name}={_as_text(value)}" for name, value in values.items())


def _as_text(value: Any) -> str:
    return (
        f"{value:g}" if isinstance(value, float) else printable(value if isinstance(value, str) else json.dumps(value))
    )


def _without_mixed_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn columns that mix types (a hyperparameter that is a number here and a word there) into text."""
    import pandas as pd

    mixed = [
        c
        for c in frame
        if frame[c].dtype == object and pd.api.types.infer_dtype(frame[c], skipna=True).startswith("mixed")
    ]
    return frame.assign(**{str(c): frame[c].map(_as_text, na_action="ignore") for c in mixed})
