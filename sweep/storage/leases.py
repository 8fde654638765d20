"""Leases: who holds what, among drivers that no file lock connects (object storage, file systems without locks).

Each driver keeps one small object with the time of its last sign of life. To hold something it writes an object of its
own under the thing's key and then lists that key: two drivers that come at the same time both see each other, since a
listing shows every object written before it, and both step back. Object stores give that (S3, GCS and Azure list
consistently); no compare-and-swap is needed. The clocks of the drivers must agree within half a minute."""

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

from sweep.storage.files import StoreError
from sweep.storage.remote import Storage

BEAT = 20.0
"""Seconds between two signs of life of a driver."""
MISSED = 3
"""So many missed ones, and a driver counts as dead."""
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

    def describe(self) -> str:
        return f"process {self.process} on {self.host}, last seen {max(0.0, time.time() - self.beat):.0f} s ago"

    @property
    def alive(self) -> bool:
        if self.machine == machine_id() and not is_running(self.process):
            return False
        return time.time() - self.beat < BEAT * MISSED


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
        self._id = uuid.uuid4().hex[:12]
        self._held: set[str] = set()
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None

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

    def _other(self, key: str, holder_id: str) -> Holder | None:
        """Find another driver with a claim on ``key``, where it lives; a dead one's claim is cleared away."""
        content = self._storage.read(f"{DRIVERS}/{holder_id}")
        holder = Holder(**json.loads(content)) if content else None
        if holder is not None and holder.alive:
            return holder
        self._storage.remove(f"{key}/{holder_id}")
        return None

    # Signs of life ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._beat()
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
        sign = Holder(self._id, machine_id(), socket.gethostname(), os.getpid(), time.time())
        self._storage.write(f"{DRIVERS}/{self._id}", json.dumps(vars(sign)).encode())

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
