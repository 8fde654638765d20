"""Preparing a dataset on Ray: one task a shard, on every node that lacks the cache. Each node writes to its own folder
of caches; nodes that share it share the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, RayTaskError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data.base import DataError
from data.prepared.cache.decoding import markers_and_pending
from data.prepared.cache.folder import CacheFolder
from data.prepared.cache.preparation import Preparation, Shard
from data.prepared.cache.records import Marker, Meta, Samples, Skipped
from data.prepared.lists.items import SplitName
from sweep.config import ConfigError
from sweep.engine.prepare_display import PreparationDisplay

AHEAD = 2
"""Tasks that each processor of a node has before it."""


@dataclass(frozen=True)
class ShardPlace:
    """Says where a shard belongs: all that a node needs to find out whether it has it."""

    name: str
    number: int
    bytes: int


@dataclass(frozen=True)
class Survey:
    """Tells what a node has of a cache."""

    meta: Meta | None
    pending: list[int]
    skipped: list[Skipped]


def prepare_nodes(work: Preparation, display: PreparationDisplay) -> Meta:
    """Make the cache on every node that lacks it. Raises DataError, ConfigError; what was finished is kept."""
    nodes = {n["NodeID"]: int(n["Resources"].get("CPU", 0)) for n in ray.nodes() if n["Alive"]}
    nodes = {node: processors for node, processors in nodes.items() if processors}
    if not nodes:
        raise ConfigError("no node of the Ray cluster has a processor to decode with; use --local, or other nodes")
    found = _survey(work, nodes, again=True)
    if complete := [survey.meta for survey in found.values() if survey.meta]:
        work.check(complete[0].skipped)
    if len(complete) == len(found):
        return complete[0]
    with display:
        display.expect(sum(len(work.shards[number].items) for s in found.values() for number in s.pending))
        while pending := {node: survey.pending for node, survey in found.items() if survey.pending}:
            _decode(work, {node: nodes[node] for node in pending}, pending, display)
            found = _survey(work, found, again=False)
        for survey in found.values():
            work.check(survey.skipped)
        ending = {node: _finish.options(**_on(node)).remote(work.folder.name, *work.ending(survey.skipped))
                  for node, survey in found.items() if survey.meta is None}  # fmt: skip
        return [_result(awaited) for awaited in ending.values()].pop()


def _survey(work: Preparation, nodes: Iterable[str], again: bool) -> dict[str, Survey]:
    places = ray.put([ShardPlace(shard.name, shard.number, shard.bytes) for shard in work.shards])
    asked = {node: _look.options(**_on(node)).remote(work.folder.name, places, again) for node in nodes}
    return {node: _result(awaited) for node, awaited in asked.items()}


def _decode(
    work: Preparation, nodes: dict[str, int], pending: dict[str, list[int]], display: PreparationDisplay
) -> None:
    """Decode in one task a shard and node. Nodes begin at different shards: some may share their folder."""
    ahead = {node: deque((number, False) for number in _rotated(pending[node], k / len(nodes)))
             for k, node in enumerate(nodes)}  # fmt: skip
    running: dict[Any, tuple[str, int]] = {}
    busy = dict.fromkeys(nodes, 0)
    skipped: dict[str, list[Skipped]] = {node: [] for node in nodes}
    try:
        while running or any(ahead.values()):
            for node, queue in ahead.items():
                while queue and busy[node] < AHEAD * nodes[node]:
                    number, wait = queue.popleft()
                    running[_run.options(**_on(node, 1)).remote(work.shards[number], wait)] = (node, number)
                    busy[node] += 1
            for done in ray.wait(list(running), num_returns=1)[0]:
                node, number = running.pop(done)
                busy[node] -= 1
                marker: Marker | None = _result(done, work.shards[number])
                if marker is None:
                    ahead[node].append((number, True))
                    continue
                display.advance(len(work.shards[number].items))
                skipped[node] += marker.skipped
                work.check(skipped[node])
    finally:
        for awaited in running:
            ray.cancel(awaited)


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
def _look(cache: str, places: list[ShardPlace], again: bool) -> Survey:
    folder = CacheFolder(cache)
    if (meta := folder.meta()) is not None:
        return Survey(meta, [], list(meta.skipped))
    markers, pending = markers_and_pending(folder, places, again)
    folder.check_room(sum(place.bytes for place in pending))
    return Survey(None, [place.number for place in pending], [skip for marker in markers for skip in marker.skipped])


@ray.remote
def _run(shard: Shard, wait: bool) -> Marker | None:
    return shard.run(wait)


@ray.remote
def _finish(cache: str, meta: Meta, samples: dict[SplitName, Samples]) -> Meta:
    folder = CacheFolder(cache)
    with folder.writing(0):
        return folder.finish(meta, samples)
