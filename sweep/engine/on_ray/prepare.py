"""Preparing a dataset on Ray: one task a shard, on every node that lacks the cache. Each node writes to its own folder
of caches; nodes that share it share the work."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, RayTaskError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.base import DataError
from data.prepared.cache.decoding import reserve
from data.prepared.cache.folder import CacheFolder
from data.prepared.cache.preparation import Preparation, Shard
from data.prepared.cache.records import Marker, Meta, Skipped
from sweep.config import ConfigError
from sweep.engine.prepare_display import PreparationDisplay

AHEAD = 2
"""Tasks that each processor of a node has before it."""


@dataclass(frozen=True)
class Survey:
    """Tells what a node has of a cache. pending: numbers of shards, with the places in them of what is missing."""

    meta: Meta | None
    pending: dict[int, tuple[int, ...]]


def prepare_nodes(work: Preparation, display: PreparationDisplay) -> Meta:
    """Make the cache on every node that lacks it. Raises DataError, ConfigError; what was finished is kept."""
    nodes = {n["NodeID"]: int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]}
    nodes = {node: processors for node, processors in nodes.items() if processors}
    if not nodes:
        raise ConfigError("no node of the Ray cluster has a processor to decode with; use --local, or other nodes")
    work.repeats()  # with the keys of the media, which no node needs to compute again
    shared = ray.put(work)
    asked = {node: _look.options(**_on(node)).remote(shared) for node in nodes}
    found: dict[str, Survey] = {node: _result(awaited) for node, awaited in asked.items()}
    for survey in found.values():
        work.check(survey.meta.skipped if survey.meta else ())
    lacking = {node: survey for node, survey in found.items() if survey.meta is None or survey.pending}
    if not lacking:
        return next(survey.meta for survey in found.values() if survey.meta)
    work.require()
    with display:
        display.expect(sum(len(places) for survey in lacking.values() for places in survey.pending.values()))
        skipped = _decode(work, {node: nodes[node] for node in lacking}, lacking, display)
        ending = {node: _finish.options(**_on(node)).remote(work.folder.name, work.ending(skipped[node]))
                  for node in lacking}  # fmt: skip
        return [_result(awaited) for awaited in ending.values()].pop()


def _decode(
    work: Preparation, nodes: dict[str, int], found: dict[str, Survey], display: PreparationDisplay
) -> dict[str, list[Skipped]]:
    """Decode in one task a shard and node; returns what each node skipped. Nodes begin at different shards: some may
    share their folder."""
    ahead = {node: deque((number, False) for number in _rotated(list(found[node].pending), k / len(nodes)))
             for k, node in enumerate(nodes)}  # fmt: skip
    running: dict[Any, tuple[str, int]] = {}
    busy = dict.fromkeys(nodes, 0)
    metas = {node: found[node].meta for node in nodes}
    skipped = {node: list(meta.skipped) if meta else [] for node, meta in metas.items()}
    try:
        while running or any(ahead.values()):
            for node, queue in ahead.items():
                while queue and busy[node] < AHEAD * nodes[node]:
                    number, wait = queue.popleft()
                    shard = work.shards[number].only(found[node].pending[number])
                    running[_run.options(**_on(node, 1)).remote(shard, wait)] = (node, number)
                    busy[node] += 1
            for done in ray.wait(list(running), num_returns=1)[0]:
                node, number = running.pop(done)
                busy[node] -= 1
                marker: Marker | None = _result(done, work.shards[number])
                if marker is None:
                    ahead[node].append((number, True))
                    continue
                display.advance(len(found[node].pending[number]))
                skipped[node] += marker.skipped
                work.check(skipped[node])
    finally:
        for awaited in running:
            ray.cancel(awaited)
    return skipped


def _rotated(numbers: list[int], share: float) -> list[int]:
    start = int(share * len(numbers))
    return numbers[start:] + numbers[:start]


def _on(node: str, processors: int = 0) -> dict[str, Any]:
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False), "num_cpus": processors}


def _result(awaited: Any, shard: Shard | None = None) -> Any:
    """Return what a task returned. Raises DataError."""
    try:
        return ray.get(awaited)
    except RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise error.cause from None
        raise
    except (NodeDiedError, TaskUnschedulableError) as error:
        raise DataError("a node went away while the data was being prepared; run again to go on") from error
    except RayError as error:
        of = f", on a sample of {shard.items[0].id} to {shard.items[-1].id}" if shard else ""
        raise DataError(
            f"a process that decodes was killed, or a decoder crashed it{of} ({type(error).__name__}); what was "
            "finished is kept, run again to go on"
        ) from error


# On the nodes ------------------------------------------------------------------------------------------------------


@ray.remote
def _look(work: Preparation) -> Survey:
    meta = work.folder.meta()
    pending = work.pending(meta.skipped if meta else ())
    if pending:
        reserve(work, pending)
    first = {shard.number: shard.positions[0] for shard in work.shards}
    places = {shard.number: tuple(p - first[shard.number] for p in shard.positions) for shard in pending}
    return Survey(meta, places)


@ray.remote
def _run(shard: Shard, wait: bool) -> Marker | None:
    return shard.run(wait)


@ray.remote
def _finish(cache: str, meta: Meta) -> Meta:
    folder = CacheFolder(cache)
    with folder.writing(0):
        return folder.finish(meta)
