"""How many groups of workers fit on the nodes of a cluster."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.config import ConfigError, ResourcesSpec
from sweep.engine import capacity


def most_groups(fits: list[int], workers: int, strategy: str) -> int:
    """By trying: every way in which a group can take workers of nodes, as often as it goes."""
    ways = [way for way in itertools.product(*(range(held + 1) for held in fits)) if sum(way) == workers]
    if strategy == "strict_pack":
        ways = [way for way in ways if max(way) == workers]
    if strategy == "strict_spread":
        ways = [way for way in ways if max(way) == 1]
    rests = ([held - taken for held, taken in zip(fits, way, strict=True)] for way in ways)
    return max((1 + most_groups(rest, workers, strategy) for rest in rests), default=0)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
    st.integers(1, 3),
    st.sampled_from(["pack", "spread", "strict_pack", "strict_spread"]),
)
def test_groups_are_as_many_as_can_be_placed(fits: list[int], workers: int, strategy: str) -> None:
    assert capacity.groups(fits, workers, strategy) == most_groups(fits, workers, strategy)


NODES = [{"CPU": 4.0, "GPU": 1.0, "accelerator_type:T4": 1.0}, {"CPU": 3.0}]


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": node} for node in NODES]
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0}})
    monkeypatch.setattr(capacity.ray, "nodes", lambda: nodes)


@pytest.mark.parametrize(
    ("needs", "slots"),
    [
        ({}, 7),
        ({"cpus": 2}, 3),
        ({"workers": 2, "cpus": 2}, 1),
        ({"workers": 2, "placement": "strict_pack"}, 3),
        ({"workers": 2, "placement": "strict_spread"}, 3),
        ({"gpus": 0.25, "workers": 2}, 2),
        ({"gpus": 0.5, "accelerator": "T4"}, 2),
    ],
)
def test_slots_are_counted_node_by_node(needs: dict[str, object], slots: int) -> None:
    assert capacity.slots(ResourcesSpec(**needs)) == slots


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ({"workers": 8}, "one run needs 8 CPU, the Ray cluster has 7"),
        ({"gpus": 2}, "one run needs 2 GPU, the Ray cluster has 1"),
        ({"accelerator": "A100", "gpus": 1}, "no node of the Ray cluster has a GPU of the kind A100"),
        ({"cpus": 5}, "one run needs a worker of 5 CPU; the nodes of the Ray cluster hold 0, 0 of them"),
        (
            {"workers": 5, "placement": "strict_pack"},
            "5 workers, placed strict_pack, of 1 CPU; the nodes of the Ray cluster hold 4, 3",
        ),
        ({"workers": 3, "placement": "strict_spread"}, "choose another resources.placement"),
    ],
)
def test_what_never_fits_is_refused_with_what_is_missing(needs: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        capacity.slots(ResourcesSpec(**needs))
