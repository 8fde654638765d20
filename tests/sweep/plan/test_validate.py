"""A whole file is validated."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

from sweep.config import load
from sweep.plan.validate import validate

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


def test_what_two_values_forbid_together_is_found_by_validation(write):
    file = write("""
sweeps:
  a:
    method: mixer
    datasets: [toy]
    vary:
      kind: {grid: [round, flat]}
      alpha: {grid: [0.5, 1]}
""")
    assert load(file)[0].name == "a"
    assert problem_lines(validate, file) == [
        "sweeps.yaml:6: sweeps.a.vary: flat mixing needs alpha below 1 (dataset toy), with kind = flat, alpha = 1"
    ]
