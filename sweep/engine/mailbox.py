"""The mailbox between a trial and its workers: requests one way, epochs the other. It is a process of its own, so it
imports little."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sweep.training.epoch_record import EpochRecord


class Member(Protocol):
    """A worker as the others know it: something that can be asked whether it lives."""

    __ray_ready__: Any


@dataclass(frozen=True)
class RunRequest:
    """A run for the workers to train. config: of the trial. patient: after each epoch wait for the word to go on."""

    config: dict[str, Any]
    patient: bool


class Mailbox:
    """Connects one trial with ``size`` workers, as an actor. Every call that waits ends when the mailbox closes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._members: list[Member] = []
        self._requests: list[RunRequest] = []
        self._news: list[EpochRecord | None] = []
        self._ended = self._answered = self._stopping = self._closed = False
        self._changed = asyncio.Condition()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or holds())

    # Workers ---------------------------------------------------------------------------------------------------

    async def join(self, member: Member) -> list[Member]:
        """Announce a worker; return all of them, once they are there."""
        self._members.append(member)
        await self._tell()
        await self._until(lambda: len(self._members) == self._size)
        return self._members

    async def request(self, number: int) -> RunRequest | None:
        """Return the run that comes ``number``-th; None where there will be none."""
        await self._until(lambda: len(self._requests) > number)
        return None if self._closed else self._requests[number]

    async def post(self, news: EpochRecord | None) -> bool:
        """Take an epoch of the run, or its end: None. Return whether the run must stop."""
        self._news.append(news)
        self._ended = news is None
        self._answered = self._ended or not self._requests[-1].patient
        await self._tell()
        await self._until(lambda: self._answered or self._stopping)
        return self._stopping or self._closed

    # Trial -----------------------------------------------------------------------------------------------------

    async def assembled(self) -> None:
        """Wait until all workers are there, or never will be."""
        await self._until(lambda: len(self._members) == self._size)

    async def send(self, request: RunRequest) -> None:
        """Have the workers train a run."""
        self._requests.append(request)
        self._news, self._ended, self._stopping = [], False, False
        await self._tell()

    async def take(self) -> list[EpochRecord | None]:
        """Return what has come since the last call, at least one; nothing where the workers are gone."""
        await self._until(lambda: bool(self._news))
        news, self._news = self._news, []
        return news

    async def go_on(self) -> None:
        """Let the run go on after the epoch posted last."""
        self._answered = True
        await self._tell()

    async def stop(self) -> None:
        """Have the run stop after the epoch under way, and wait for its end."""
        self._stopping = True
        await self._tell()
        await self._until(lambda: self._ended)

    async def close(self) -> None:
        """Accept no further run; whoever waits need not."""
        self._closed = True
        await self._tell()
