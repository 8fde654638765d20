"""One run, from its record to its commit: what every executor calls. Knows files, not Ray."""

from __future__ import annotations

import socket
import time
import traceback
from collections import OrderedDict
from collections.abc import Generator
from typing import Any

import torch

import data
import methods
from data.base import AbsentDataError, DataError, Dataset
from data.base.allocation import return_freed_memory
from methods.base import Method
from models import encoders
from sweep.runs.environment import record_environment
from sweep.runs.failures import NO_ROOM, OvertimeError, classify, is_lasting
from sweep.runs.identity import dataset_key
from sweep.runs.later_options import with_later
from sweep.runs.records import FinalRecord, Run, TestRecord
from sweep.runs.run_folder import RunFolder
from sweep.runs.tensorboard import EventWriter
from sweep.storage.files import StoreError, guarded
from sweep.training import seeds
from sweep.training.epoch_record import EpochRecord
from sweep.training.loop import FitResult, Training
from sweep.training.workers import WorkerGroup

DATASETS_KEPT = 4
"""Datasets that a process keeps loaded between runs, the most recently used ones."""

_datasets: OrderedDict[str, Dataset] = OrderedDict()


def load_dataset(run: Run) -> Dataset:
    """Load the run's dataset, from this process's cache where an earlier run loaded it, and check it. Raises
    AbsentDataError, and DataError for content that no run can use; both name this machine: on a cluster the data may
    lie on some nodes only."""
    key = dataset_key(run)
    if key not in _datasets:
        source = data.get(run.dataset)
        try:
            dataset = data.load(run.dataset, source.Options.model_validate(with_later(source.Options, run.data)))
            dataset.check()
        except DataError as error:
            # Of its own accord: what caused an error does not travel between the workers of a group.
            kind = DataError if is_lasting(error) else AbsentDataError
            raise kind(f"{error} (on {socket.gethostname()})") from error
        _datasets[key] = dataset
        while len(_datasets) > DATASETS_KEPT:
            _datasets.popitem(last=False)
    _datasets.move_to_end(key)
    return _datasets[key]


def build_method(run: Run, dataset: Dataset) -> Method:
    """Build the run's method over fresh encoders, initialised from the run's seed alone."""
    kind = methods.get(run.method)
    hyperparameters = kind.Hyperparameters.model_validate(run.hyperparameters)
    torch.manual_seed(seeds.derive(run.seed, "initialisation"))
    shapes = dataset.shapes()
    built = {m: encoders.build(run.encoders[m], shapes[m]) for m in dataset.modalities}
    return kind(built, dataset.num_classes, hyperparameters, run.epochs)


def train(
    run: Run,
    folder: RunFolder,
    *,
    timeout: float | None = None,
    checkpoint_every: float = 0.0,
    gpu_share: float = 1.0,
    workers: WorkerGroup | None = None,
) -> Generator[EpochRecord, None, None]:
    """Train ``run`` into ``folder``, going on from its checkpoint where it has one; a record after each epoch.

    The record is on disk before it is yielded, and so is a checkpoint where the last one is ``checkpoint_every``
    seconds old: a consumer may stop anywhere, and no more than that is trained again. At the end the run is committed:
    done, diverged, or failed with the reason (an error never leaves this generator, but for StoreError: a folder that
    cannot be written, or a disk that is full). With several workers rank 0 alone writes, and an error is raised: the
    group must end together, and its launcher commits the failure. timeout: seconds that this attempt may take, looked
    at after each epoch (a step that hangs is the executor's to end). gpu_share: part of the GPU's memory that is the
    run's, in (0, 1]."""
    started = time.monotonic()
    workers = workers or WorkerGroup()
    writes = workers.rank == 0
    events: EventWriter | None = None
    return_freed_memory()  # what a larger run before this one needed
    try:
        if writes:
            folder.open(run, record_environment(workers.size))
            folder.note_start()
        state = folder.load_checkpoint()
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
            gpu_share=gpu_share,
        )
        if writes:
            folder.rewind(training.epoch)
            for note in dataset.notes if state is None else ():
                folder.log(note)
            events = EventWriter(run, folder.path, training.epoch + 1)
        saved = time.monotonic()
        for record in training.epochs():
            if events is not None:
                folder.append(record)
                with guarded("write", folder.path):
                    events.add(record)
                if time.monotonic() - saved >= checkpoint_every:
                    folder.save_checkpoint({"training": training.state_dict()})
                    saved = time.monotonic()
            yield record
            if timeout is not None and time.monotonic() - started > timeout and record.epoch < record.epochs:
                raise OvertimeError(f"not finished within {timeout:g} s, after epoch {record.epoch} of {record.epochs}")
        result = training.result()
        if events is not None:
            # The commit says that everything is there, its events too.
            with guarded("write", folder.path):
                events.end(result.selected_epoch, result.validation | result.test)
                events.close()
            events = None
        if writes:
            source = data.get(run.dataset)
            draws = source.split_draws(source.Options.model_validate(with_later(source.Options, run.data)))
            tested = TestRecord(
                metrics=result.test, samples=len(dataset.test), split_draws=draws, data_notes=list(dataset.notes)
            )
            state = training.method.inference_state()
            folder.commit(_final_record(result, folder), tested, state, result.predictions)
    except StoreError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            with guarded("write", error.filename or folder.path):
                raise
        if workers.size > 1:
            raise
        commit_failure(folder, error)
    finally:
        if events is not None:
            with guarded("write", folder.path):
                events.close()


def commit_failure(folder: RunFolder, error: BaseException) -> FinalRecord:
    """End a run by the error that stopped it: cause and reason in final.json, its traceback in log.txt. A run that has
    ended already stays as it is."""
    if (ended := folder.final()) is not None:
        return ended
    folder.log("".join(traceback.format_exception(error)))
    epochs, failure = folder.epochs(), classify(error, folder.config())
    final = FinalRecord(
        status=failure.status,
        reason=failure.reason,
        cause=failure.cause,
        repeats=failure.repeats,
        failures=folder.failures(),
        epochs_trained=epochs[-1].epoch if epochs else 0,
        attempts=folder.attempts(),
    )
    folder.commit(final)
    return final


def commit_unstarted(run: Run, folder: RunFolder, broken: FinalRecord) -> FinalRecord:
    """End a run that was not started, by the failure of another run of its dataset, which would be its own."""
    folder.open(run, record_environment(run.workers))
    epochs = folder.epochs()
    update = {
        "failures": folder.failures(),
        "epochs_trained": epochs[-1].epoch if epochs else 0,
        "attempts": folder.attempts(),
    }
    final = broken.model_copy(update=update)
    folder.commit(final)
    return final


def commit_pruned(folder: RunFolder) -> FinalRecord:
    """End a run where the early-stopping rule stopped it: the metrics of its last epoch."""
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
        failures=folder.failures(),
        attempts=folder.attempts(),
    )
    folder.commit(final)
    return final


def _final_record(result: FitResult, folder: RunFolder) -> FinalRecord:
    fields: dict[str, Any] = {
        name: getattr(result, name)
        for name in ("selected_epoch", "epochs_trained", "seconds", "samples", "forward_passes", "samples_per_second")
    }
    return FinalRecord(
        status="done",
        metrics=result.validation,
        seconds_per_epoch=result.seconds / max(1, result.epochs_trained),
        peak_memory_mib=result.peak_memory_mib,
        failures=folder.failures(),
        attempts=folder.attempts(),
        **fields,
    )
