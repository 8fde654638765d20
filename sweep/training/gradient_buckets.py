"""Gradients averaged over workers while the backward pass still runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from operator import is_

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sweep.training.workers import WorkerGroup

BUCKET_BYTES = 25 * 2**20
HOST_MEMORY = frozenset({"cpu"})
"""Types of devices whose memory the host reads without waiting."""
NOTHING_TO_TRAIN = (
    "the loss depends on nothing that requires a gradient, on any worker: look for torch.no_grad, detach(), or "
    "parameters that are all frozen"
)


class GradientBuckets:
    """Averages gradients over workers in buckets, each of which starts to travel as soon as it is complete.

    A bucket holds neighbours of one type in the reversed order of the parameters, up to ``bucket_bytes``. All workers
    start their buckets strictly in one order, for collectives are matched by order. So a parameter without a gradient
    holds back its bucket and all later ones until the end of the pass.

    Workers may have gradients of different parameters: one flag a parameter says who has. On a CPU the flags are the
    last numbers of their bucket. On a device the host would have to wait in order to read them there. So they travel
    between the hosts, which know them at the end of the pass: one small collective a pass. A worker waits for it only
    if it lacks a gradient itself, and never for the device. The answer is exact. The price is that no host runs ahead
    of another by more than one pass.

    Buffers as large as the gradients are kept from pass to pass. Hooks exist only during a pass."""

    def __init__(self, workers: WorkerGroup, bucket_bytes: int = BUCKET_BYTES) -> None:
        """bucket_bytes: largest size of a bucket, at least 1; a larger parameter has a bucket of its own.

        Raises ValueError where bucket_bytes is not positive."""
        if bucket_bytes < 1:
            raise ValueError(f"bucket_bytes is {bucket_bytes}: a bucket has at least 1 byte")
        self._workers, self._bucket_bytes = workers, bucket_bytes
        self._parameters: list[nn.Parameter] = []
        self._buckets: list[Bucket] = []
        self._exchange: dist.Work | None = None

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter], counts: bool = True) -> None:
        """Add the gradients of the loss, averaged over workers, to what ``grad`` of each parameter holds.

        loss: one number, weighted by this worker's share; on some workers it may depend on none of the parameters, or
        on nothing at all. parameters: the same ones in the same order on all workers. Where only other workers have a
        gradient, this one counts as zeros; where nobody has, ``grad`` stays as it was. Gradients of leaves that are not
        among the parameters stay this worker's own. counts: False where this worker has no sample: it goes through the
        pass, for its collectives, and what it finds, which may be no numbers, is as if it were not there.

        Raises RuntimeError where the loss depends on nothing on any worker, or where a parameter receives a part of its
        gradient after its bucket has left."""
        if self._workers.size == 1:
            if not loss.requires_grad:
                raise RuntimeError(NOTHING_TO_TRAIN)
            loss.backward()
            return
        parameters = list({id(parameter): parameter for parameter in parameters}.values())
        # After an error the buffers may still travel, so the next pass gets others.
        buckets, self._buckets = self._arranged(parameters), []
        held = [parameter.grad for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None
        somebody = self._average(loss, buckets, counts)
        for parameter, before in zip(parameters, held, strict=True):
            if before is not None:
                parameter.grad = before if parameter.grad is None else before + parameter.grad
        self._parameters, self._buckets = parameters, buckets
        if not somebody and not loss.requires_grad:
            raise RuntimeError(NOTHING_TO_TRAIN)

    def _arranged(self, parameters: list[nn.Parameter]) -> list[Bucket]:
        """Return the buckets of the last pass where these are its parameters, else new ones."""
        if self._buckets and len(parameters) == len(self._parameters) and all(map(is_, parameters, self._parameters)):
            return self._buckets
        # Freed first: else both layouts would lie in memory for a moment.
        self._buckets = []
        return [Bucket(group) for group in bucket_groups(parameters, self._bucket_bytes)]

    def _average(self, loss: Tensor, buckets: list[Bucket], counts: bool) -> bool:
        """Give each parameter the average of its gradients; return whether any worker has one."""
        if self._exchange is not None:
            self._exchange.wait()
        reduction = Reduction(self._workers, buckets, counts)
        hooks = [
            parameter.register_post_accumulate_grad_hook(partial(reduction.receive, place))
            for place, bucket in enumerate(buckets)
            for parameter in bucket.parameters
            if parameter.requires_grad
        ]
        try:
            if loss.requires_grad:
                loss.backward()
        finally:
            for hook in hooks:
                hook.remove()
        reduction.launch_rest()
        self._exchange = reduction.exchange_flags()
        return reduction.hand_out()


class Bucket:
    """Some parameters and the buffer in which their gradients travel."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        """parameters: at least one, all of one type on one device."""
        self.parameters = list(parameters)
        sizes, first = [parameter.numel() for parameter in parameters], self.parameters[0]
        self.flags_inside = first.device.type in HOST_MEMORY
        self.buffer = torch.empty(sum(sizes) + self.flags_inside * len(sizes), dtype=first.dtype, device=first.device)
        parts = self.buffer[: sum(sizes)].split(sizes)
        self._parts = [part.view(parameter.shape) for part, parameter in zip(parts, self.parameters, strict=True)]
        self.present = [False] * len(sizes)
        """Tells which parameters have a gradient: on this worker, and after the exchange of flags on any worker."""

    def fill(self, counts: bool) -> None:
        """Copy the gradients of this worker into the buffer: zeros where there is none. One that does not count has
        none."""
        if not counts:
            for parameter in self.parameters:
                parameter.grad = None
        self.present = [parameter.grad is not None for parameter in self.parameters]
        for parameter, part in zip(self.parameters, self._parts, strict=True):
            if parameter.grad is None:
                part.zero_()
            else:
                part.copy_(parameter.grad)
        if self.flags_inside:
            self._flags.copy_(torch.tensor(self.present))

    def hand_out(self, size: int) -> None:
        """Give the parameters the sums in the buffer over the number of workers, and none where nobody has one."""
        if self.flags_inside and not all(self.present):
            self.present = [flag != 0 for flag in self._flags.tolist()]
        self.buffer /= size
        for parameter, part, present in zip(self.parameters, self._parts, self.present, strict=True):
            if present:
                # Not a view of the buffer, which the next pass overwrites.
                parameter.grad = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad.copy_(part)

    @property
    def _flags(self) -> Tensor:
        return self.buffer[len(self.buffer) - len(self.parameters) :]


class Reduction:
    """The buckets of one backward pass, from the first that starts to the last that arrives."""

    def __init__(self, workers: WorkerGroup, buckets: Sequence[Bucket], counts: bool = True) -> None:
        self._workers, self._buckets, self._counts = workers, buckets, counts
        self._missing = [{id(p) for p in bucket.parameters if p.requires_grad} for bucket in buckets]
        self._works: list[dist.Work] = []

    def receive(self, place: int, parameter: Tensor) -> None:
        """Note that a parameter of the bucket at ``place`` has its gradient; start the buckets that are complete.

        Raises RuntimeError where the bucket has left."""
        if place < len(self._works):
            raise RuntimeError(
                f"a parameter of shape {tuple(parameter.shape)} got a gradient twice in one backward pass, after the "
                "first had been sent to the other workers: checkpoint with use_reentrant=False"
            )
        self._missing[place].discard(id(parameter))
        while len(self._works) < len(self._buckets) and not self._missing[len(self._works)]:
            self._launch()

    def launch_rest(self) -> None:
        """Start all buckets that are left: what has no gradient at the end of the pass will get none."""
        while len(self._works) < len(self._buckets):
            self._launch()

    def _launch(self) -> None:
        bucket = self._buckets[len(self._works)]
        bucket.fill(self._counts)
        self._works.append(self._workers.start_sum(bucket.buffer))

    def exchange_flags(self) -> dist.Work | None:
        """Exchange the flags that travel between hosts; return the collective where nothing depends on it here."""
        apart = [bucket for bucket in self._buckets if not bucket.flags_inside]
        if not apart:
            return None
        present = list(chain.from_iterable(bucket.present for bucket in apart))
        flags = torch.tensor(present, dtype=torch.int32)
        work = self._workers.start_sum(flags)
        if all(present):
            return work
        work.wait()
        anywhere = iter(flags.tolist())
        for bucket in apart:
            bucket.present = [next(anywhere) != 0 for _ in bucket.parameters]
        return None

    def hand_out(self) -> bool:
        """Wait for each bucket and give its parameters their averages; return whether any worker has a gradient."""
        for bucket, work in zip(self._buckets, self._works, strict=True):
            work.wait()
            bucket.hand_out(self._workers.size)
        return any(any(bucket.present) for bucket in self._buckets)


def bucket_groups(parameters: Sequence[nn.Parameter], bucket_bytes: int) -> list[list[nn.Parameter]]:
    """Divide parameters into groups, a bucket each, in the order in which buckets start.

    Parameters are taken in reversed order, about that in which a backward pass reaches them. A group is of one type on
    one device and has at most ``bucket_bytes`` of gradients, or a single parameter. Groups are in the order of their
    last parameters."""
    groups: list[list[nn.Parameter]] = []
    latest: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    room: dict[tuple[torch.dtype, torch.device], int] = {}
    places: dict[int, int] = {}
    for place, parameter in enumerate(reversed(parameters)):
        kind = (parameter.dtype, parameter.device)
        if kind not in latest or parameter.nbytes > room[kind]:
            latest[kind], room[kind] = [], bucket_bytes
            groups.append(latest[kind])
        latest[kind].append(parameter)
        room[kind] -= parameter.nbytes
        places[id(parameter)] = place
    return sorted(groups, key=lambda group: places[id(group[-1])])
