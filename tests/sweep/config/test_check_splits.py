"""What does not go together with splits is refused where it is written, with what to write instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.config_problems import problem_lines
from support.small_runs import make_plan

from sweep.config import ConfigError

pytest_plugins = ["support.sweep_files"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"splits": [0, 0]}, "splits: split 0 stands twice"),
        ({"split": [0]}, "no key called 'split'; did you mean splits?"),
        (
            {"splits": [0, 1], "data": {"digits": {"split_seed": 2}}},
            "data.digits.split_seed: splits sets it too; keep one of them",
        ),
        ({"vary": {"data.split_seed": {"grid": [3, 4]}}}, "write splits: [3, 4] beside seeds"),
        ({"points": [{"data.digits.split_seed": 3}]}, "write splits: [3] beside seeds"),
    ],
)
def test_each_mistake_names_its_place_and_its_remedy(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_plan(tmp_path, **keys)
    assert words in str(refused.value)


def test_a_dataset_without_split_seed_is_refused(one: Any) -> None:
    (line,) = problem_lines(one, "sweeps: {a: {method: mixer, datasets: [toy], splits: [0, 1]}}")
    assert "splits: toy has no split_seed" in line
