"""A whole file is validated, without anything heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.config_problems import problem_lines

from sweep.config import load
from sweep.plan.validate import validate

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


ROOT = Path(__file__).resolve().parents[3]


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


def test_validating_imports_nothing_heavy():
    script = (
        "import sys; from sweep import plan; plan.validate('sweeps.yaml'); "
        "heavy = 'ray torchvision torchaudio transformers sklearn scipy optuna'; "
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
