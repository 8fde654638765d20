"""Files are read whole and digested by content."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from data.base import DataError
from data.base.files import digest, distrust, read_bytes

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4820\n"


def test_digest_knows_names_contents_and_their_borders() -> None:
    files = [("a", b"xy"), ("b", b"z")]
    assert digest(files) == digest(iter(files))
    assert len(digest(files)) == 16
    others = [
        [("a", b"x"), ("b", b"yz")],
        [("a", b"xy"), ("c", b"z")],
        [("a", b"xy")],
        [("b", b"z"), ("a", b"xy")],
        [("ax", b"y"), ("b", b"z")],
        [("a", b"xw"), ("b", b"z")],
    ]
    assert len({digest(files), *map(digest, others)}) == 7
    # Recorded runs are found by it.
    assert digest(files) == sha256(b"1/a/2/xy1/b/1/z").hexdigest()[:16]


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "a.bin").write_bytes(content)
    assert read_bytes(tmp_path / "a.bin") == content


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.wav: cannot be read \(No such file"):
        read_bytes(tmp_path / "gone.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(DataError, match=r"empty\.wav: the file is empty"):
        read_bytes(tmp_path / "empty.wav")
    (tmp_path / "stub.wav").write_bytes(STUB)
    with pytest.raises(DataError, match=r"stub\.wav: a Git LFS pointer.*git lfs pull"):
        read_bytes(tmp_path / "stub.wav")


def test_folders_that_others_may_have_written_are_not_trusted(tmp_path: Path) -> None:
    root, folder = tmp_path / "root", tmp_path / "root" / "cache"
    assert distrust(folder) is None
    folder.mkdir(parents=True)
    assert distrust(folder) is None
    folder.chmod(0o777)
    assert distrust(folder) == f"every user may write in {folder}"
    folder.chmod(0o755)
    root.chmod(0o777)
    assert distrust(folder) == f"every user may replace what lies in {root}"
    root.chmod(0o1777)
    assert distrust(folder) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_folder_of_another_user_is_trusted_only_where_its_owner_was_let_in(tmp_path: Path) -> None:
    root, folder = tmp_path / "root", tmp_path / "root" / "cache"
    folder.mkdir(parents=True)
    os.chown(folder, 65534, 65534)
    for mode, trusted in ((0o755, False), (0o1777, False), (0o775, True)):
        root.chmod(mode)
        assert (distrust(folder) is None) is trusted
    root.chmod(0o755)
    os.chown(root, 65534, 65534)
    assert distrust(folder) is None
    (tmp_path / "planted").symlink_to(folder)
    os.chown(tmp_path / "planted", 65534, 65534, follow_symlinks=False)
    assert distrust(tmp_path / "planted") == f"{tmp_path / 'planted'} belongs to another user"
