"""A search starts from the best of earlier sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.hand_driven_agenda import Driver
from support.hand_driven_search import finish, make_search

from sweep.config import ConfigError
from sweep.engine.tasks import Task


def train_earlier(folder: Path, values: dict[float, float], **keys: Any) -> None:
    """An earlier sweep over alpha with these validation accuracies on each seed (a tenth better under seed 1)."""
    driver = Driver(folder, vary={"alpha": {"grid": list(values)}}, **keys)
    while isinstance(task := driver.agenda.next(), Task):
        if task.configuration.values["alpha"] == 0.15 and task.run.seed == 1:
            driver.end(task, status="diverged")
        else:
            driver.end(task, values[task.configuration.values["alpha"]] + task.run.seed / 10)
    driver.freeze()


def test_a_search_starts_from_the_best_of_an_earlier_sweep(tmp_path: Path) -> None:
    # 0.15 has one seed only, and 0.95 lies outside the space.
    train_earlier(tmp_path, {0.2: 0.5, 0.95: 0.9, 0.4: 0.8, 0.5: 0.7, 0.15: 0.9, 0.7: 0.6}, name="old")
    vary = {"alpha": {"uniform": [0.1, 0.9]}}
    proposed = finish(make_search(tmp_path, "random", 6, vary=vary, warm_start=["old"]))
    assert [c.values["alpha"] for c in proposed][:4] == [0.8, 0.4, 0.5, 0.7]
    assert all(c.values["alpha"] not in (0.15, 0.2, 0.95) for c in proposed)
    # More results of the earlier sweep change nothing in a search that has begun.
    train_earlier(tmp_path, {0.45: 1.0}, name="old")
    assert [c.key for c in finish(make_search(tmp_path, "random", 6, vary=vary, warm_start=["old"]))] == [
        c.key for c in proposed
    ]


def test_an_earlier_sweep_that_is_not_there_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    train_earlier(tmp_path, {0.4: 0.8}, name="alpha-grid")
    with pytest.raises(
        ConfigError, match=r"warm_start\[0\]: .*results holds no sweep called 'alpha-gird'; did you mea"
    ):
        make_search(tmp_path, warm_start=["alpha-gird"])
    # Another method's values mean nothing here.
    keys = {"method": "lfa", "vary": {"alpha": {"uniform": [0.1, 0.9]}}}
    proposed = finish(make_search(tmp_path, "random", 4, warm_start=["alpha-grid"], **keys))
    assert 0.4 not in [c.values["alpha"] for c in proposed]
