"""The text of all modules, and its digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.runs import code_texts
from sweep.runs.code_texts import code_digest, folder_digests, read_code_digest
from sweep.runs.module_imports import PACKAGES


def test_the_code_has_one_digest():
    assert code_digest() == code_digest()
    assert read_code_digest() == code_digest()
    assert len(code_digest()) == 16


def test_the_digest_of_a_folder_is_of_what_no_identity_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = folder_digests()
    texts = code_texts._text_digests()
    changed = {}
    for file in (
        "methods/joint.py",
        "methods/__init__.py",
        "data/base/dataset.py",
        "models/__init__.py",
        "sweep/runs/identity.py",
    ):
        assert file in texts
        monkeypatch.setattr(code_texts, "_text_digests", lambda file=file: {**texts, file: "edited"})
        found = code_texts.folder_digests.__wrapped__()
        changed[file] = [name for name in now if now[name] != found[name]]
    assert changed == {
        "methods/joint.py": [],
        "methods/__init__.py": ["methods"],
        "data/base/dataset.py": ["data"],
        "models/__init__.py": ["models"],
        "sweep/runs/identity.py": ["sweep"],
    }


def test_files_of_editors_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "sweep" / "runs").mkdir()
    (tmp_path / "methods" / "mine.py").write_bytes(b"x = '\xc3")  # half a character, as of a file that is being written
    monkeypatch.setattr(code_texts, "__file__", str(tmp_path / "sweep" / "runs" / "code_texts.py"))
    before = read_code_digest()
    (tmp_path / "methods" / ".#mine.py").symlink_to("user@host.1234")
    assert read_code_digest() == before
    (tmp_path / "methods" / "mine.py").write_text("x = 'é'")
    assert read_code_digest() != before
