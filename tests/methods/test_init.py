"""The register of the methods: found by name, with a reason for what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

import methods
from methods.joint import Joint


def test_methods_are_found_by_name() -> None:
    assert methods.get("joint") is Joint
    with pytest.raises(KeyError, match=r"no method called 'jont'; there are: .*joint"):
        methods.get("jont")
    folder = Path(methods.__file__).parent
    own = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    assert set(methods.names()) >= own - {"__init__", "__pycache__", "base", "equations"}


def test_a_method_that_cannot_be_used_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert methods.refusal("joint") is None
    monkeypatch.setattr(methods.METHODS, "refusal", {"broken": "its file is damaged"}.get)
    assert methods.refusal("broken") == "its file is damaged"
