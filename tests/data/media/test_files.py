"""What is asked of a file and of a library before one is used."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support.dataset_folders import STUB

from data.base import DataError
from data.media import MediaError
from data.media._files import require_file, require_package


def test_a_file_with_something_in_it_is_one(tmp_path: Path) -> None:
    for content in (b"x", b"version https://example.org"):
        (tmp_path / "a.wav").write_bytes(content)
        require_file(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, r"cannot be read \(No such file or directory\); check the path and its permissions"),
        (b"", "the file is empty; copy or download it again"),
        (STUB, "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository"),
    ],
)
def test_what_is_no_file_is_refused_with_a_remedy(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError, match=reason) as refused:
        require_file(path)
    assert refused.value.path == path


def test_a_library_is_given_or_its_package_is_named() -> None:
    assert require_package("math", "maths", "counting") is math
    with pytest.raises(DataError, match=r"reading video needs the package no-such-lib: pip install no-such-lib"):
        require_package("no_such_library", "no-such-lib", "reading video")
