"""One run, from its record to its commit: what every executor calls. Knows files, not Ray."""

from __future__ import annotations

import time
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Literal

import torch

import data
import methods
from data.base import Dataset
from methods.base import Method
from models import encoders
from sweep import seeds
from sweep.environment import record_environment
from sweep.events import EventWriter
from sweep.fit import DivergedError, FitResult, Training
from sweep.identity import canonical
from sweep.records import EpochRecord, FinalRecord, Run, TestRecord
from sweep.store import RunFolder, StoreError
from sweep.workers import WorkerGroup

DATASETS_KEPT = 4
"""Datasets that a process keeps loaded between runs, the most recently used ones."""

_datasets: OrderedDict[str, Dataset] = OrderedDict()


def load_dataset(run: Run) -> Dataset:
    """The run's dataset, from this process's cache where an earlier run loaded it. Raises DataError."""
    key = f"{run.dataset}/{run.fingerprint}/{canonical(run.data)}"
    if key not in _datasets:
        source = data.get(run.dataset)
        _datasets[key] = source.load(source.Options.model_validate(run.data))
        while len(_datasets) > DATASETS_KEPT:
            _datasets.popitem(last=False)
    _datasets.move_to_end(key)
    return _datasets[key]


def build_method(run: Run, dataset: Dataset) -> Method:
    """The run's method over fresh encoders, initialised from the run's seed alone."""
    kind = methods.get(run.method)
    hyperparameters = kind.Hyperparameters.model_validate(run.hyperparameters)
    torch.manual_seed(seeds.derive(run.seed, "initialisation"))
    shapes = dataset.shapes()
    built = {m: encoders.build(run.encoders[m], shapes[m]) for m in dataset.modalities}
    return kind(built, dataset.num_classes, hyperparameters, run.epochs)


def train(
    run: Run, folder: RunFolder, *, timeout: float | None = None, workers: WorkerGroup | None = None
) -> Iterator[EpochRecord]:
    """Train ``run`` into ``folder``, going on from its checkpoint where it has one; a record after each epoch.

    The record is on disk and the checkpoint saved before it is yielded, so that a consumer may stop anywhere. At the
    end the run is committed: done, diverged, or failed with the reason (an error never leaves this generator, but
    for StoreError: a folder that cannot be written). With several workers rank 0 alone writes, and an error is
    raised: the group must end together, and its launcher commits the failure. timeout: seconds, looked at after each
    epoch (a step that hangs is the executor's to end)."""
    started = time.monotonic()
    workers = workers or WorkerGroup()
    writes = workers.rank == 0
    if writes:
        folder.open(run, record_environment(workers.size))
    state = folder.load_checkpoint()
    attempts = (state or {}).get("attempts", 0) + 1
    events: EventWriter | None = None
    try:
        # Before the data is loaded: its transforms may depend on the number of threads.
        torch.set_num_threads(run.train.threads)
        dataset = load_dataset(run)
        training = Training(
            build_method(run, dataset),
            dataset,
            run.train,
            seed=run.seed,
            metric=run.metric,
            patience=run.patience,
            test_peak=run.test_peak,
            state=state["training"] if state else None,
            workers=workers,
            warn=folder.log if writes else lambda message: None,
        )
        if writes:
            folder.rewind(training.epoch)
            for note in dataset.notes if state is None else ():
                folder.log(note)
            events = EventWriter(folder.path, training.epoch + 1)
        for record in training.epochs():
            if events is not None:
                folder.append(record)
                events.add(record)
                folder.save_checkpoint({"training": training.state_dict(), "attempts": attempts})
            yield record
            if timeout is not None and time.monotonic() - started > timeout and record.epoch < record.epochs:
                raise TimeoutError(f"not finished within {timeout:g} s, after epoch {record.epoch} of {record.epochs}")
        result = training.result()
        if writes:
            folder.commit(_final(result, attempts), TestRecord(metrics=result.test), training.method.state_dict())
    except StoreError:
        raise
    except Exception as error:
        if workers.size > 1:
            raise
        commit_failure(folder, error, attempts)
    finally:
        if events is not None:
            events.close()


def commit_failure(folder: RunFolder, error: BaseException, attempts: int = 1) -> FinalRecord:
    """End a run by the error that stopped it: its reason in final.json, its traceback in log.txt."""
    folder.log("".join(traceback.format_exception(error)))
    status: Literal["diverged", "failed"] = "diverged" if isinstance(error, DivergedError) else "failed"
    epochs = folder.epochs()
    reason = str(error) if status == "diverged" else f"{type(error).__name__}: {error}"
    trained = epochs[-1].epoch if epochs else 0
    final = FinalRecord(status=status, reason=reason, epochs_trained=trained, attempts=attempts)
    folder.commit(final)
    return final


def commit_pruned(folder: RunFolder) -> FinalRecord:
    """End a run where the early-stopping rule stopped it: its last epoch's metrics; its checkpoint stays."""
    last = folder.epochs()[-1]
    final = FinalRecord(
        status="pruned",
        reason=f"stopped early after epoch {last.epoch} of {last.epochs}",
        epochs_trained=last.epoch,
        metrics=last.metrics,
        samples=last.samples,
        forward_passes=last.forward_passes,
        samples_per_second=last.samples_per_second,
        peak_memory_mib=last.peak_memory_mib,
    )
    folder.commit(final)
    return final


def _final(result: FitResult, attempts: int) -> FinalRecord:
    fields: dict[str, Any] = {
        name: getattr(result, name)
        for name in ("selected_epoch", "epochs_trained", "seconds", "samples", "forward_passes", "samples_per_second")
    }
    return FinalRecord(
        status="done",
        metrics=result.validation,
        seconds_per_epoch=result.seconds / max(1, result.epochs_trained),
        peak_memory_mib=result.peak_memory_mib,
        attempts=attempts,
        **fields,
    )
