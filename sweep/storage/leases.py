"""Leases: who holds what, among drivers that no file lock connects (object storage, file systems without locks).

Each driver keeps one small object with the time of its last sign of life. To hold something it writes an object of its
own under the thing's key and then lists that key: two drivers that come at the same time both see each other, since a
listing shows every object written before it, and both step back. Object stores give that (S3, GCS and Azure list
consistently); no compare-and-swap is needed.

No driver's clock is trusted. On one machine a driver lives as long as its process. On others the age of a sign of life
is told by the storage, whose clock stamped both that sign and our own. A driver that was stopped for longer than its
lease, or finds a claim of its own gone, has lost what it held: :meth:`Leases.check` says so, and it must stop."""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from sweep.storage.files import LockedError, StoreError
from sweep.storage.remote import Storage

BEAT = 20.0
"""Seconds between two signs of life of a driver."""
MISSED = 3
"""So many missed ones, and a driver counts as dead."""
LEASE = BEAT * MISSED
"""Seconds for which a sign of life holds."""
DRIVERS = ".drivers"


class Hold(Protocol):
    """A thing held for this driver until it is released, or the driver dies."""

    def release(self) -> None: ...


@dataclass(frozen=True)
class Holder:
    """A driver, as its sign of life describes it."""

    id: str
    machine: str
    host: str
    process: int
    beat: float
    """Seconds since the epoch."""
    started: int | None = None
    """When the process began, as :func:`start_of` tells; it tells processes apart that have the same number."""

    def describe(self) -> str:
        return f"process {self.process} on {self.host}, last seen {max(0.0, time.time() - self.beat):.0f} s ago"

    @property
    def is_here(self) -> bool:
        """Tell whether it is a driver of this machine."""
        return self.machine == machine_id()

    @property
    def runs_here(self) -> bool:
        """Tell whether its process still runs on this machine."""
        return is_running(self.process) and self.started in (None, start_of(self.process))


class Lease:
    """One thing held through storage."""

    def __init__(self, leases: Leases, key: str) -> None:
        self._leases, self._key = leases, key

    def release(self) -> None:
        self._leases.release(self._key)


class Leases:
    """The leases of one driver on one storage. Its signs of life go on while it holds anything."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._id = ""
        """Names it from its first sign of life to the last one before it holds nothing."""
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None
        self._signed = 0.0
        """When the last sign of life was written, by :func:`seconds_since_boot`."""
        self._lost = ""

    def acquire(self, key: str, attempts: int = 1) -> Lease | Holder:
        """Hold ``key``, or tell who holds it. attempts: how often to try where several come at the same moment."""
        if self._beating is None:
            self._begin()
        for attempt in range(attempts):
            self._storage.write(f"{key}/{self._id}", b"")
            others = [self._other(key, name) for name in self._storage.names(key) if name != self._id]
            living = [other for other in others if other is not None]
            if not living:
                self._held.add(key)
                return Lease(self, key)
            self._storage.remove(f"{key}/{self._id}")
            if attempt + 1 < attempts:
                time.sleep(random.uniform(0.1, 0.5))
        if not self._held:
            self._end()
        return living[0]

    def release(self, key: str) -> None:
        """Let go of ``key``; nothing where it is not held."""
        if key not in self._held:
            return
        self._held.remove(key)
        self._storage.remove(f"{key}/{self._id}")
        if not self._held:
            self._end()

    def check(self) -> None:
        """Check that what this driver holds is still its own. Raises LockedError where it may be another's by now: then
        nothing of it may be written any more."""
        if self._held and not self._lost and (gap := seconds_since_boot() - self._signed) > LEASE:
            self._lost = f"this process gave no sign of life for {gap:.0f} s (it was stopped, or the storage away)"
        if self._lost:
            raise LockedError(
                f"{self._lost}: another one may have taken over what it held on {self._storage.uri}, so it stops; "
                "what was finished is kept, and the command goes on when it is run again"
            )

    def _other(self, key: str, holder_id: str) -> Holder | None:
        """Find another driver with a claim on ``key``, where it lives; a dead one's claim is cleared away."""
        holder = _parse_holder(self._storage.read(f"{DRIVERS}/{holder_id}"))
        if holder is not None and (holder.runs_here if holder.is_here else self._age(holder) < LEASE):
            return holder
        self._storage.remove(f"{key}/{holder_id}")
        return None

    def _age(self, holder: Holder) -> float:
        """Measure the seconds since the last sign of life of a driver of another machine: by the storage's clock, or by
        the drivers' where the storage stamps nothing."""
        self._sign()
        own, other = f"{DRIVERS}/{self._id}", f"{DRIVERS}/{holder.id}"
        stamps = self._storage.stamps((own, other))
        if own in stamps and other in stamps:
            return stamps[own] - stamps[other]
        return time.time() - holder.beat

    # Signs of life ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        # Another driver may still be clearing away what this one claimed before it went: under a new name nothing of
        # now is taken for that.
        self._id, self._lost = uuid.uuid4().hex[:12], ""
        self._sign()
        self._stop.clear()
        self._beating = threading.Thread(target=self._live, name="lease", daemon=True)
        self._beating.start()

    def _live(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                self._beat()
            except StoreError:
                # An outage of the network: the next beat may get through, and whatever is written meanwhile fails
                # loudly by itself.
                continue

    def _beat(self) -> None:
        """Give a sign of life, unless it comes too late, and look whether all claims stand."""
        try:
            self.check()
        except LockedError:
            return
        self._sign()
        held = {f"{key}/{self._id}": key for key in tuple(self._held)}
        gone = sorted(held[claim] for claim in held.keys() - self._storage.sizes(held).keys())
        # One may have been released meanwhile.
        if gone := [key for key in gone if key in self._held]:
            self._lost = f"the claim of this process on {gone[0]} is gone"

    def _sign(self) -> None:
        now = seconds_since_boot()
        me = os.getpid()
        sign = Holder(self._id, machine_id(), socket.gethostname(), me, time.time(), start_of(me))
        self._storage.write(f"{DRIVERS}/{self._id}", json.dumps(vars(sign)).encode())
        self._signed = now

    def _end(self) -> None:
        if self._beating is not None:
            self._stop.set()
            self._beating.join()
            self._beating = None
        self._storage.remove(f"{DRIVERS}/{self._id}")


@cache
def machine_id() -> str:
    """Name what shares process numbers with this process: host, boot and process namespace."""
    parts = [socket.gethostname(), str(uuid.getnode())]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.exists():
        parts += [boot.read_text().strip(), os.readlink(namespace)]
    return " ".join(parts)


def seconds_since_boot() -> float:
    """Give seconds of a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def start_of(process: int) -> int | None:
    """Tell when a process of this machine began, in ticks since boot; None where the system does not say."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    # The name before it, in brackets, may hold anything.
    return int(stat.rpartition(")")[2].split()[19])


def _parse_holder(content: bytes | None) -> Holder | None:
    """Parse a sign of life; None where there is none, or it is damaged: who lives writes it anew within a beat."""
    try:
        found = json.loads(content or b"")
        return Holder(
            id=str(found["id"]),
            machine=str(found["machine"]),
            host=str(found["host"]),
            process=int(found["process"]),
            beat=float(found["beat"]),
            started=found.get("started"),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def is_running(process: int) -> bool:
    """Tell whether this machine has a process of this number."""
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
