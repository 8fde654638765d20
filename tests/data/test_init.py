"""Datasets are found by name, without heavy libraries."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.forked_programs import printed

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
heavy = {{"ray", "sklearn", "scipy", "torchaudio", "torchvision", "transformers"}}
print(sorted(heavy & set(sys.modules)))
"""
    assert printed(program) == "[]\n"
