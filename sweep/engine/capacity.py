"""What a run takes of a Ray cluster, and how many runs the cluster holds at a time."""

from __future__ import annotations

import ray
from ray.tune import PlacementGroupFactory

from sweep.config import ConfigError, ResourcesSpec

Amounts = dict[str, float]
"""Ray's name of a resource -> how much of it."""

ACCELERATOR_SHARE = 0.001
"""What a worker takes of a node's mark for its kind of GPU: of no account, but only such nodes have the mark."""


def bundle(needs: ResourcesSpec) -> Amounts:
    """What one worker takes."""
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus}
    if needs.accelerator:
        wanted[f"accelerator_type:{needs.accelerator}"] = ACCELERATOR_SHARE
    return {name: amount for name, amount in wanted.items() if amount}


def placement(needs: ResourcesSpec) -> PlacementGroupFactory:
    """What Tune reserves for a run. With several workers the trial itself takes nothing: they do."""
    driver: list[Amounts] = [{}] if needs.workers > 1 else []
    return PlacementGroupFactory(driver + [bundle(needs)] * needs.workers, strategy=needs.placement.upper())


def slots(needs: ResourcesSpec) -> int:
    """How many runs the cluster, as it is, holds at a time: whole workers on its nodes, placed as the sweep says.

    Raises ConfigError, naming what is missing, where it never holds one."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = bundle(needs)
    for name, amount in wanted.items():
        have, takes = sum(node.get(name, 0) for node in nodes), amount * needs.workers
        if have < takes:
            raise ConfigError(_missing(name, takes, have))
    fits = [_times(node, wanted) for node in nodes]
    found = groups(fits, needs.workers, needs.placement)
    if not found:
        held = ", ".join(map(str, sorted(fits, reverse=True)))
        workers = "a worker" if needs.workers == 1 else f"{needs.workers} workers, placed {needs.placement},"
        raise ConfigError(
            f"one run needs {workers} of {_said(wanted)}; the nodes of the Ray cluster hold {held} of them: lower "
            "resources.cpus, gpus or workers, choose another resources.placement, or use larger nodes"
        )
    return found


def groups(fits: list[int], workers: int, strategy: str) -> int:
    """How many groups of ``workers`` fit at a time where each node holds ``fits`` workers: pack and spread take any
    nodes, strict_pack one node a group, strict_spread another node for each worker of a group."""
    if strategy == "strict_pack":
        return sum(held // workers for held in fits)
    most = sum(fits) // workers
    if strategy == "strict_spread":
        # A node gives at most one worker to each group.
        return next((k for k in range(most, 0, -1) if sum(min(held, k) for held in fits) >= k * workers), 0)
    return most


def _times(node: Amounts, wanted: Amounts) -> int:
    return min(int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items())


def _said(wanted: Amounts) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in wanted.items() if ":" not in name)


def _missing(name: str, takes: float, have: float) -> str:
    if ":" in name:
        return (
            f"no node of the Ray cluster has a GPU of the kind {name.partition(':')[2]}: correct resources.accelerator "
            "(Ray's name, as in A100 or T4), or use another cluster"
        )
    return (
        f"one run needs {takes:g} {name}, the Ray cluster has {have:g}: lower resources.cpus, gpus or workers, or use "
        "a larger cluster"
    )
