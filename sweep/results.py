"""Results as data frames: the run folders are the truth, these tables are read off them.

``load("results/iprm-alpha")`` gives one row a run, ``load("results/iprm-alpha", "epoch")`` one row an epoch of a run.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweep.records import IndexEntry

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
    "status",
    "hash",
    "role",
    "configuration",
    "number",
    "point",
)
_ALWAYS = (*_IDENTITY, "reason", "epoch", *(f"{split}_{metric}" for split in SPLITS for metric in METRICS))
_COSTS = ("seconds", "seconds_per_epoch", "samples", "forward_passes", "samples_per_second", "peak_memory_mib")


class ResultsError(ValueError):
    """A folder holds no results, or a file of it cannot be read; the message names it and the remedy."""


def load(path: str | Path, level: Level = "run") -> pd.DataFrame:
    """The results of one sweep (``results/NAME``) or of all sweeps (``results``).

    level "run": one row a run and sweep, with the columns

    - sweep, method, label, dataset, seed, status, hash, role, configuration, number, point, reason;
      status: done, pruned, diverged, failed, running (begun, not committed) or missing (not begun);
      point: the varied values as text;
    - vary.NAME as the sweep writes it (a null is the text "null", a name that a run does not vary is missing),
      hp.NAME (resolved hyperparameters), train.NAME, data.NAME, encoder.MODALITY, fingerprint, workers, metric;
    - epoch (selected on validation data), epochs (budget), epochs_trained, attempts;
    - {validation,test,test_peak}_{accuracy,map,macro_f1}[_MODALITY] in [0, 1], {validation,test}_imbalance and
      {validation,test}_shapley_MODALITY;
    - seconds, seconds_per_epoch, samples, forward_passes, samples_per_second, peak_memory_mib, env.NAME.

    level "epoch": one row an epoch, with the columns that name the run, vary.NAME, hp.NAME, epoch, epochs, loss,
    learning_rate, the costs, the metrics of that epoch and diag.NAME. A line torn by a crash is left out; of an epoch
    written twice (a resumed run) the last stands.

    Raises ResultsError where there is nothing to read or a committed file is broken.
    """
    path = Path(path)
    sweeps = _sweeps(path)
    folder = (path.parent if (path / "index.jsonl").exists() else path) / "runs"
    runs = _run_rows(sweeps, folder)
    if level == "run":
        return runs
    if level != "epoch":
        raise ResultsError(f"level must be 'run' or 'epoch', not {level!r}")
    epochs = _Table("hash", "epoch")
    for name in dict.fromkeys(runs["hash"]):
        for record in _epochs(folder / name):
            epochs.add({"hash": name, **record})
    return runs[[*_IDENTITY, *columns_of(runs, "vary.", "hp.")]].merge(epochs.frame(), on="hash")


def write_tables(results: str | Path, name: str) -> list[Path]:
    """Write runs.parquet, runs.csv and epochs.parquet of the sweep ``name``, each atomically. Returns their paths."""
    folder = Path(results) / name
    runs, epochs = _writable(load(folder)), _writable(load(folder, "epoch"))
    paths = [folder / file for file in ("runs.parquet", "runs.csv", "epochs.parquet")]
    for target, frame in zip(paths, (runs, runs, epochs), strict=True):
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        if target.suffix == ".csv":
            frame.to_csv(partial, index=False)
        else:
            frame.to_parquet(partial, index=False)
        partial.replace(target)
    return paths


def indexed(results: str | Path, name: str) -> list[IndexEntry]:
    """The runs of the sweep ``name`` as its index lists them; none where it has not run."""
    return [IndexEntry(**line) for line in _lines(Path(results) / name / "index.jsonl")]


def columns_of(frame: pd.DataFrame, *prefixes: str) -> list[str]:
    """Names of the columns that begin with any of ``prefixes``, in order."""
    return [str(column) for column in frame if str(column).startswith(prefixes)]


class _Table:
    """Rows of different keys, collected as columns."""

    def __init__(self, *names: str) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in names}
        self._rows = 0

    def add(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            column = self._columns.setdefault(name, [])
            column.extend([None] * (self._rows - len(column)))
            column.append(value)
        self._rows += 1

    def frame(self) -> pd.DataFrame:
        import pandas as pd  # here, so that reading an index alone stays fast

        return pd.DataFrame(
            {name: column + [None] * (self._rows - len(column)) for name, column in self._columns.items()}
        )


def _sweeps(path: Path) -> list[Path]:
    if (path / "index.jsonl").exists():
        return [path]
    found = sorted(index.parent for index in path.glob("*/index.jsonl"))
    if not found:
        raise ResultsError(f"no results in {path}: neither a sweep's folder nor a folder of sweeps; run a sweep first")
    return found


def _run_rows(sweeps: list[Path], folder: Path) -> pd.DataFrame:
    table, read = _Table(*_ALWAYS), dict[str, dict[str, Any]]()
    for sweep in sweeps:
        for entry in _index(sweep):
            name = entry["hash"]
            if name not in read:
                read[name] = _read_run(folder / name)
            table.add({"sweep": sweep.name, **entry, **read[name]})
    frame = table.frame()
    metrics = [f"{split}_{metric}" for split in SPLITS for metric in METRICS]
    frame = frame.astype(dict.fromkeys(metrics, "float64"))
    groups = ("vary.", "hp.", "train.", "data.", "encoder.", "env.")
    rank = {prefix: number for number, prefix in enumerate(groups, start=1)}
    rank["env."] = len(groups) + 2
    order = sorted(
        map(str, frame), key=lambda c: 0 if c in _IDENTITY else rank.get(c.split(".")[0] + ".", len(groups) + 1)
    )
    return frame[order].copy()  # columns added one by one lie scattered in memory


def _index(sweep: Path) -> list[dict[str, Any]]:
    """Lines of a sweep's index as columns; of lines that say the same of a run the last stands."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in _lines(sweep / "index.jsonl"):
        key = (line["hash"], line["role"], line["label"], json.dumps(line["values"]))
        values = line.pop("values")
        point = ", ".join(f"{key}={_text(value)}" for key, value in values.items())
        varied = {f"vary.{key}": "null" if value is None else _cell(value) for key, value in values.items()}
        found[key] = {**line, "point": point, **varied}
    # Studies take turns while they run; a reader wants each in one piece.
    first: dict[tuple[str, str], int] = {}
    for row in found.values():
        first.setdefault((row["label"], row["dataset"]), len(first))
    return sorted(found.values(), key=lambda row: first[row["label"], row["dataset"]])


def _read_run(folder: Path) -> dict[str, Any]:
    """What the folder of one run says, as columns."""
    config, environment = _json(folder / "config.json"), _json(folder / "environment.json")
    row: dict[str, Any] = {
        **{key: config[key] for key in ("fingerprint", "workers", "metric", "epochs", "patience") if key in config},
        **_prefixed("hp.", config.get("hyperparameters", {})),
        **_prefixed("train.", config.get("train", {})),
        **_prefixed("data.", config.get("data", {})),
        **_prefixed("encoder.", config.get("encoders", {})),
    }
    final = _json(folder / "final.json")
    if final:
        row |= {key: final.get(key) for key in ("status", "reason", "epochs_trained", "attempts", *_COSTS)}
        row["epoch"] = final.get("selected_epoch")
        row |= final.get("metrics", {}) | _json(folder / "test.json").get("metrics", {})
    else:
        row["status"] = "running" if next(_lines(folder / "metrics.jsonl"), None) else "missing"
    packages = environment.pop("packages", {})
    for key in ("command", "gpus"):
        if key in environment:
            environment[key] = shlex.join(environment[key]) if key == "command" else ", ".join(environment[key])
    return row | _prefixed("env.", environment) | _prefixed("env.packages.", packages)


def _epochs(folder: Path) -> list[dict[str, Any]]:
    """Epochs of one run as columns, by epoch."""
    found = {}
    for line in _lines(folder / "metrics.jsonl"):
        metrics, diagnostics = line.pop("metrics"), line.pop("diagnostics")
        found[line["epoch"]] = {**line, **metrics, **_prefixed("diag.", diagnostics)}
    return [found[epoch] for epoch in sorted(found)]


def _json(path: Path) -> dict[str, Any]:
    """A whole file, {} where there is none."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ResultsError(f"{path} is broken ({error}); delete the folder and run the sweep again") from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a file with one a line, none where there is no file. A torn last line is no record yet."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise ResultsError(
                f"{path}, line {number} is broken ({error}); delete it and run the sweep again"
            ) from error
        yield record


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {prefix + key: _cell(value) for key, value in values.items()}


def _cell(value: Any) -> Any:
    """A value that fits a table: lists and objects as JSON."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def _writable(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns that mix types (a hyperparameter that is a number here and a word there) as text."""
    import pandas as pd

    mixed = [
        c
        for c in frame
        if frame[c].dtype == object and pd.api.types.infer_dtype(frame[c], skipna=True).startswith("mixed")
    ]
    return frame.assign(**{str(c): frame[c].map(_text, na_action="ignore") for c in mixed})
