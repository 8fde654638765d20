"""Datasets are found by name, without heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import data


def test_datasets_are_found_by_name() -> None:
    assert {"digits", "av_digits"} <= set(data.names())
    assert data.get("digits").name == "digits"
    with pytest.raises(KeyError, match=r"no dataset called 'digit'; there are: .*digits"):
        data.get("digit")


def test_declarations_and_fingerprints_need_no_heavy_library(fsdd_root: Path, mnist_root: Path) -> None:
    program = f"""
import sys, data
for name in ("digits", "av_digits"):
    source = data.get(name)
    paths = dict(zip(("root", "mnist_root"), {[str(fsdd_root), str(mnist_root)]!r})) if source.paths else {{}}
    options = source.Options(**paths)
    source.modalities(options), source.encoders(options), source.fingerprint(options)
heavy = {{"ray", "sklearn", "scipy", "torchaudio", "torchvision", "transformers", "sweep"}}
print(sorted(heavy & set(sys.modules)))
"""
    root = Path(data.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
