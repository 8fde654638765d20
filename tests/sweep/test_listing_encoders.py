"""``python -m sweep list encoders``: complete, and read off declarations alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from models import encoders

LIGHT = """
import sys
from sweep.cli import main
code = main(["list", "encoders"])
heavy = {"ray", "torchvision", "torchmetrics", "transformers", "sklearn"} & set(sys.modules)
sys.exit(f"imported {sorted(heavy)}" if heavy else code)
"""


def test_every_option_of_every_encoder_is_listed() -> None:
    root = Path(encoders.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    for name, kind in encoders.ENCODERS.items():
        assert name in words
        assert set(kind.Options.model_fields) <= set(words)
        assert all(field.description for field in kind.Options.model_fields.values())
