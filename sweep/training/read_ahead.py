"""Batches that the host makes ready while the device trains on the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch

from data.base import Batch


def read_ahead(make: Callable[[int], Batch], count: int, device: torch.device) -> Iterator[Batch]:
    """Yield ``make(0)`` to ``make(count - 1)``, each made in a thread while the caller uses the one before.

    Two batches exist at a time. On a GPU copies run on a stream of their own, beside the steps. An error of ``make`` is
    raised when its batch is asked for."""
    if device.type == "cuda":
        make = _on_own_stream(make, device)
    # A thread of its own has torch's default number of threads, by which numbers may depend.
    start = partial(torch.set_num_threads, torch.get_num_threads())
    with ThreadPoolExecutor(1, "read-ahead", start) as thread:
        following = thread.submit(make, 0) if count else None
        for number in range(count):
            assert following is not None
            batch = following.result()
            following = thread.submit(make, number + 1) if number + 1 < count else None
            if device.type == "cuda":
                _hand_over(batch)
            yield batch


def _on_own_stream(make: Callable[[int], Batch], device: torch.device) -> Callable[[int], Batch]:
    """Let ``make`` run on a stream that begins behind what the present one was given."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))

    def made(number: int) -> Batch:
        with torch.cuda.stream(stream):
            batch = make(number)
        # The pinned memory that is copied from is this thread's to reuse, once the copies are done.
        stream.synchronize()
        return batch

    return made


def _hand_over(batch: Batch) -> None:
    """Tell torch that the present stream uses the batch: else its memory would be given away too early."""
    for values in batch.tensors:
        if values.is_cuda:
            values.record_stream(torch.cuda.current_stream(values.device))
