"""What trial and workers may rely on: who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from sweep.engine.mailbox import Mailbox, RunRequest


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, timeout=60))


async def settled(task: asyncio.Task[Any]) -> bool:
    """Whether a call returns without anybody else calling."""
    for _ in range(20):
        await asyncio.sleep(0)
    return task.done()


async def waiting(call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(call)
    assert not await settled(task)
    return task


def test_workers_learn_of_each_other_when_all_are_there() -> None:
    async def scene() -> None:
        mailbox = Mailbox(2)
        assembled, first = await waiting(mailbox.assembled()), await waiting(mailbox.join("a"))
        assert await mailbox.join("b") == ["a", "b"]
        assert await first == ["a", "b"]
        await assembled

    play(scene())


def test_a_patient_run_waits_for_the_word_and_another_does_not() -> None:
    async def scene() -> None:
        mailbox = Mailbox(1)
        request = await waiting(mailbox.request(0))
        await mailbox.send(RunRequest({}, patient=True))
        assert (await request).patient
        post = await waiting(mailbox.post("epoch 1"))
        assert await mailbox.take() == ["epoch 1"]
        assert not await settled(post)
        await mailbox.go_on()
        assert await post is False
        assert await mailbox.post(None) is False

        await mailbox.send(RunRequest({}, patient=False))
        assert not (await mailbox.request(1)).patient
        assert [await mailbox.post(f"epoch {n}") for n in (1, 2)] == [False, False]
        assert await mailbox.take() == ["epoch 1", "epoch 2"]

    play(scene())


def test_a_stop_reaches_the_run_and_ends_with_it() -> None:
    for patient in (True, False):

        async def scene(patient: bool = patient) -> None:
            mailbox = Mailbox(1)
            await mailbox.send(RunRequest({}, patient))
            first = asyncio.ensure_future(mailbox.post("epoch 1"))
            assert await settled(first) is not patient
            stop = await waiting(mailbox.stop())
            assert await (first if patient else mailbox.post("epoch 2")) is True
            assert not stop.done()
            await mailbox.post(None)
            await stop
            # What came of a stopped run is nothing to the next one.
            await mailbox.send(RunRequest({}, patient=False))
            assert await mailbox.post("epoch 1 of the next") is False
            assert await mailbox.take() == ["epoch 1 of the next"]

        play(scene())


def test_whoever_waits_is_let_go_when_the_mailbox_closes() -> None:
    async def scene() -> None:
        mailbox = Mailbox(2)
        calls = [mailbox.join("a"), mailbox.assembled(), mailbox.request(0), mailbox.take(), mailbox.stop()]
        tasks = [await waiting(call) for call in calls]
        await mailbox.close()
        _, _, request, news, _ = await asyncio.gather(*tasks)
        assert request is None
        assert news == []

    play(scene())
