"""Files that are written whole or not at all, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from sweep.storage.files import (
    StoreError,
    append_line,
    guarded,
    make_folder,
    read_file,
    refusal_text,
    scratch_folder,
    write_atomic,
)

if TYPE_CHECKING:
    from support.recorded_disk import RecordedDisk

pytest_plugins = ["support.recorded_disk"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "final.json"
    write_atomic(path, b"old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StoreError, match=r"cannot write .*final.json: No space left on device; free space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["final.json"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_write_replaces_the_whole_file(tmp_path: Path, durable: bool) -> None:
    for content in (b"long content", b"short"):
        write_atomic(tmp_path / "file", content, durable)
        assert (tmp_path / "file").read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("content", [b"", b"a word", bytes(range(256))])
def test_a_file_that_the_system_gives_in_parts_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "file").write_bytes(content)
    monkeypatch.setattr(os, "read", lambda file, size, read=os.read: read(file, min(size, 5)))
    assert read_file(f"{tmp_path}/file") == content
    assert read_file(f"{tmp_path}/none") is None


def test_a_line_after_a_torn_one_is_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, "first")
    with path.open("a") as file:
        file.write("torn")
    append_line(path, "next")
    append_line(path, "last")
    assert path.read_text() == "first\ntorn\nnext\nlast\n"


def test_a_folder_is_made_with_those_above_it_unless_a_file_is_in_the_way(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot make .*file: .*; a file stands where a folder is needed"):
        make_folder(tmp_path / "file")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.EROFS, "make it writable"), (errno.EDQUOT, "larger quota"), (errno.EIO, "check the disk or the network")],
)
def test_what_the_system_refuses_has_a_remedy(code: int, remedy: str) -> None:
    with pytest.raises(StoreError, match=rf"cannot read here: .*; .*{remedy}"), guarded("read", "here"):
        raise OSError(code, os.strerror(code))


def test_a_durable_write_is_on_the_disk_before_its_name_says_so(tmp_path: Path, disk: RecordedDisk) -> None:
    write_atomic(tmp_path / "final.json", b"content", durable=True)
    assert [(what, size) for what, _, size in disk.events] == [("synced", 7), ("renamed", 7), ("synced", 0)]
    assert disk.events[-1][1] == tmp_path


def test_any_other_write_does_not_wait_for_the_disk(tmp_path: Path, disk: RecordedDisk) -> None:
    write_atomic(tmp_path / "final.json", b"content")
    assert [(what, size) for what, _, size in disk.events] == [("renamed", 7)]


def test_two_processes_that_write_one_file_at_once_do_not_spoil_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, process, rename = tmp_path / "file", [1], Path.replace

    def replace(self: Path, target: Path) -> Path:
        if process == [1]:  # the other one comes between writing and renaming
            process[:] = [2]
            write_atomic(path, b"of the other")
        return rename(self, target)

    monkeypatch.setattr(os, "getpid", lambda: process[0])
    monkeypatch.setattr(Path, "replace", replace)
    write_atomic(path, b"of the one")
    assert path.read_bytes() == b"of the one"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EPERM])
def test_a_line_that_cannot_be_written_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(self: Path, *arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError, match=r"cannot write .*lines: .*; (free space|make it writable)"):
        append_line(tmp_path / "lines", "first")


def test_a_file_that_cannot_be_opened_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StoreError, match=r"cannot write .*/file: Permission denied; make it writable"):
        write_atomic(tmp_path / "file", b"content")


def test_an_error_without_a_number_has_a_remedy_too() -> None:
    with (
        pytest.raises(StoreError, match="cannot read here: a timeout; check the disk or the network"),
        guarded("read", "here"),
    ):
        raise OSError("a timeout")


def test_a_scratch_folder_goes_with_its_use_and_one_that_cannot_be_made_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder("a-") as folder:
        (folder / "b").write_text("c")
        assert (folder.parent, folder.stat().st_mode & 0o777) == (tmp_path, 0o700)
        # A second Ctrl-C kills all children of a process.
        children = [child.as_dict(["cmdline"])["cmdline"] for child in psutil.Process().children(recursive=True)]
        assert not [words for words in children if str(folder) in (words or ())]
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with (
        pytest.raises(StoreError, match=r"\(No such file or directory\): free space, or set TMPDIR"),
        scratch_folder("a-"),
    ):
        pass


@pytest.mark.parametrize(
    ("doing", "code", "lasting"),
    [
        ("write", errno.EACCES, True),
        ("write", errno.EROFS, True),
        ("write", errno.ENOSPC, False),
        ("write", errno.ENOENT, False),
        ("make", errno.ENOENT, True),
    ],
)
def test_a_refusal_says_whether_the_same_command_can_help(doing: str, code: int, lasting: bool) -> None:
    with pytest.raises(StoreError) as caught, guarded(doing, "x"):
        raise OSError(code, os.strerror(code))
    assert caught.value.lasting is lasting
    assert ("choose another --results" in str(caught.value)) is lasting
    assert "again" not in str(caught.value)  # which the command says


def test_what_may_not_be_read_is_not_to_be_made_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = PermissionError(errno.EACCES, "Permission denied", str(tmp_path))
    with (
        pytest.raises(StoreError, match=r"cannot read x: Permission denied; its owner can let others read it"),
        guarded("read", "x"),
    ):
        raise refused
    assert "make it writable or choose another place (--results, --to, --output, --file)" in refusal_text(refused)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "its owner can let others read it" in refusal_text(refused)
