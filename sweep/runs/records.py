"""Typed records of a run: the border between training and everything that reads results.

Metric names: ``validation_accuracy``, ``validation_map``, ``validation_macro_f1`` for the fused prediction,
``validation_accuracy_MODALITY`` and so on for each modality; the same with ``test_`` and ``test_peak_``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from sweep.runs.later_options import with_later
from sweep.training.epoch_record import Record
from sweep.training.recipe import Recipe


class Run(Record):
    """One training: a configuration under one seed, with every default filled in. Its
    ``sweep.runs.identity.run_hash`` names its folder; nothing else does."""

    method: str
    hyperparameters: dict[str, Any]
    dataset: str
    data: dict[str, Any]
    """Resolved options of the dataset, paths included."""
    fingerprint: str
    """Of the data's content, by ``DatasetSource.fingerprint``."""
    encoders: dict[str, dict[str, Any]]
    """Modality -> {"name": encoder, option: value, ...}, every default filled in."""
    train: Recipe
    epochs: int
    metric: str
    """Chooses the epoch, on validation data: accuracy, map or macro_f1."""
    patience: int | None
    """Epochs without a better validation metric after which training ends; None: never."""
    test_peak: bool
    seed: int
    source: dict[str, str]
    """Digest of all that the method ("method") and the dataset ("dataset") reach, and of what corrupts the data
    ("corruption") where they are corrupted, of ``source_digest``."""
    workers: int = 1
    numerics: int = Field(0, json_schema_extra={"as_before": 0})
    """``NUMERICS`` of the code that trains it; 0 of records from before it was counted."""

    @model_validator(mode="before")
    @classmethod
    def _of_any_version(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("train"), Mapping):
            return {**values, "train": with_later(Recipe, values["train"])}
        return values


Repeats = Literal["run", "dataset"]
"""What fails again, however often it is tried: the run, or every run of its dataset."""

Cause = Literal["error", "memory", "timeout", "data", "process"]
"""Why a run failed: an exception, memory that ran out (of the CPU or a GPU), its timeout, data that cannot be read, or
a process that was killed."""


class FinalRecord(Record):
    """End of a run; final.json. Its existence is the commit of the run.

    done: trained to its end; pruned: the early-stopping rule stopped it after ``epochs_trained`` epochs; diverged: a
    loss that is not finite; failed: an error, named in ``reason`` (traceback in log.txt), of the kind ``cause``."""

    status: Literal["done", "pruned", "diverged", "failed"]
    reason: str | None = None
    cause: Cause | None = None
    repeats: Repeats | None = None
    """Of a failure that training again cannot change; None where it may."""
    failures: list[str] = Field(default_factory=list)
    """Reasons of earlier attempts that failed, the oldest first."""
    selected_epoch: int | None = None
    epochs_trained: int = 0
    metrics: dict[str, float] = Field(default_factory=dict)
    """Validation metrics at the selected epoch, with ``validation_shapley_MODALITY`` and ``validation_imbalance``."""
    seconds: float = 0.0
    seconds_per_epoch: float = 0.0
    samples: int = 0
    forward_passes: float = 0.0
    samples_per_second: float = 0.0
    peak_memory_mib: float = 0.0
    attempts: int = 1
    """How often training was started, from nothing or from a checkpoint."""


class TestRecord(Record):
    """test.json: read by reports alone; planner, searcher and scheduler never open it.

    metrics: ``test_*`` with the selected epoch's weights, and ``test_peak_*`` (the best epoch of each metric on the
    test split, the protocol of the papers' code) where the run asks for it."""

    __test__ = False
    metrics: dict[str, float]
    samples: int | None = None
    """Of the test split, which give its metrics their resolution; None in records from before they were counted."""
    # As SplitDraws of data.base, whose import takes seconds of those who only read records.
    split_draws: Literal["test", "validation", "nothing"] | None = None
    """What the dataset's ``split_seed`` draws; None in records from before it was noted."""
    data_notes: list[str] = []
    """What a reader of results must know of the data; empty in records from before it stood here, beside log.txt."""


class EnvironmentRecord(Record):
    """environment.json: machine, versions and command of a run."""

    packages: dict[str, str]
    python: str
    code: str
    """Digest of models/, methods/, data/ and sweep/."""
    folders: dict[str, str] = {}
    """Digest of the code of each of them that no run's identity covers, of ``folder_digests``; empty in records from
    before these were told apart."""
    git: str | None
    hostname: str
    platform: str
    processor: str
    cpus: int
    gpus: list[str]
    command: list[str]
    workers: int
    started: str
    """UTC, ISO 8601."""


def is_run_name(text: object) -> bool:
    """Tell whether a text can name the folder of a run: the digits of a hash, and so no path that leads elsewhere."""
    return isinstance(text, str) and re.fullmatch(r"[0-9a-zA-Z]{1,64}", text) is not None


MOST_LETTERS = 100
"""Letters of a sweep's name: file systems take 255, and other names begin with it."""


def is_sweep_name(text: str) -> bool:
    """Tell whether a text can name a sweep's folder, and so no path that leads out of the results, nor hidden files."""
    return (
        re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", text) is not None and len(text) <= MOST_LETTERS and text != "runs"
    )


class IndexEntry(Record):
    """One run as a sweep sees it, a line of index.jsonl in the folder of the sweep.

    role: sweep, one of its configurations; reference, one beside them; report, the chosen configuration of a
    search under fresh seeds. A run may belong to several sweeps, and to one sweep in several roles."""

    hash: str
    method: str
    label: str
    dataset: str
    role: Literal["sweep", "reference", "report"]
    values: dict[str, Any]
    """Varied name, as the sweep writes it (``alpha``, ``iprm.alpha``, ``train.lr``), -> value."""
    configuration: str
    """Hash of the run without its seed and its split."""
    seed: int
    split: int | None = None
    """The ``split_seed`` of its data; None where the dataset has none, and in records from before it was noted."""
    number: int | None = None
    """Of the Optuna trial."""
