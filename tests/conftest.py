"""How the tests are shared among processes (``pytest -n 2``), what they share, and the budget of the methods' suite."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support.processor_budget import ProcessorBudget

if TYPE_CHECKING:
    from support.worker_processes import Workers

# A node of Ray is up in seconds, but not on a machine that is busy, as with a Ray beside it. Ray reads this when it is
# imported, which a test module may do; its nodes and the commands that are tested inherit it.
os.environ |= {"RAY_raylet_start_wait_time_s": "60"}

# Examples that are drawn anew in each run, or a machine that is busy, must not decide whether a test passes.
settings.register_profile("certain", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("certain")

RAY = "ray"
"""The marker of tests that start a Ray."""


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ProcessorBudget(), "processor budget")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """Look for no garbage meanwhile, nor afterwards among what is there: modules and tests live as long as we do."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)  # before xdist looks at the groups, which it does first of all
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """A file's tests share its fixtures, so they stay together. Those that start Ray keep several processes busy and
    then wait for some: one at a time beside tests of the other kind leaves no core idle. They are two groups, the large
    one of the engine's own first and that of all others last, so that both cores have work to the end."""
    place = {item: _ray_place(item) for item in items}
    for item in items:
        group = f"{RAY} {place[item]}" if place[item] else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=place.__getitem__)
    yield


def _ray_place(item: pytest.Item) -> int:
    """Tell where a test runs: -1 first and 1 last, those that start Ray; 0 between."""
    if item.get_closest_marker(RAY) is None:
        return 0
    return -1 if item.path.parent.name == "on_ray" else 1


@pytest.fixture(autouse=True, scope="session")
def _own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never write to the user's caches, nor read them; the user may have no home at all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_CACHE", str(tmp_path_factory.mktemp("caches")))
        patch.setenv("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
        yield


@pytest.fixture(scope="session")
def two_workers() -> Iterator[Workers]:
    """Two processes of one group, to which functions are sent."""
    yield from _workers(2)


@pytest.fixture(scope="session")
def three_workers() -> Iterator[Workers]:
    """Three processes of one group, to which functions are sent."""
    yield from _workers(3)


def _workers(size: int) -> Iterator[Workers]:
    from support.worker_processes import Workers  # torch: seconds that most runs of a few tests do without

    workers = Workers(size)
    yield workers
    workers.stop()
