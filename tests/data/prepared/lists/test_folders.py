"""Folders are searched, and what is not there is explained."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.base import DataError
from data.prepared.lists.folders import (
    explain_absence,
    files_by_stem,
    find_folder,
    folders_by_name,
    need_folder,
    open_root,
    pictures,
)
from data.prepared.lists.rows import Lists, read_text

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4820\n"


def touch(*paths: Path, content: bytes = b"x") -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_a_wrong_root_is_named_with_the_remedy(tmp_path: Path) -> None:
    assert open_root(str(tmp_path), "set `root`") == tmp_path
    with pytest.raises(DataError, match="gone: no such folder; set `root` to it"):
        open_root(str(tmp_path / "gone"), "set `root` to it")
    touch(tmp_path / "file")
    with pytest.raises(DataError, match="file: a file, not a folder; set `root`"):
        open_root(str(tmp_path / "file"), "set `root`")


def test_the_first_folder_that_holds_something_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "full" / "a.wav", tmp_path / "other" / "a.wav", tmp_path / "hidden" / ".DS_Store")
    assert find_folder(tmp_path, "gone", "empty", "hidden", "full", "other") == tmp_path / "full"
    assert find_folder(tmp_path, "gone", "empty") is None
    with pytest.raises(DataError, match=r"no sound; expected empty or gone\. Set `root` to the folder that holds it"):
        need_folder(tmp_path, "sound", "empty", "gone")


def test_files_and_folders_by_name(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("b.wav", "a.WAV", "._a.wav", "a.txt", "sub/c.wav", "sub/b.wav")))
    assert files_by_stem(tmp_path, {".wav"}) == {"a": tmp_path / "a.WAV", "b": tmp_path / "b.wav"}
    deep = files_by_stem(tmp_path, {".wav"}, deep=True)
    assert deep == {"a": tmp_path / "a.WAV", "b": tmp_path / "b.wav", "c": tmp_path / "sub" / "c.wav"}
    assert folders_by_name(tmp_path) == {"sub": tmp_path / "sub"}


def test_pictures_are_sorted_whatever_their_names(tmp_path: Path) -> None:
    names = ["00029.jpg", "00000.jpg", "frame_00001.JPEG", "b.png", "thumbs.db", ".x.jpg"]
    touch(*(tmp_path / "clip" / name for name in names))
    (tmp_path / "empty").mkdir()
    found = pictures([tmp_path / "clip", tmp_path / "empty", tmp_path / "clip"])
    assert [path.name for path in found[tmp_path / "clip"]] == ["00000.jpg", "00029.jpg", "b.png", "frame_00001.JPEG"]
    assert found[tmp_path / "empty"] == ()


def test_git_lfs_pointers_are_not_taken_for_media(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav", content=b"x" * 1000)
    touch(tmp_path / "b.wav", tmp_path / "c.wav", content=STUB)
    touch(tmp_path / "d.wav", content=b"")
    with pytest.raises(
        DataError, match=r"2 of 4 files are Git LFS pointers, not media \(b\.wav, \.\.\.\); run `git lfs"
    ):
        files_by_stem(tmp_path, {".wav"})


@pytest.mark.parametrize("suffix", [".part", ".crdownload", ".aria2", ".PART", ".download"])
def test_an_unfinished_download_is_recognised(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path / f"CREMA-D.zip{suffix}")
    with pytest.raises(
        DataError, match=rf"no sound; expected AudioWAV\. CREMA-D\.zip{suffix} is a download that was not"
    ):
        need_folder(tmp_path, "sound", "AudioWAV")


def volumes(folder: Path, sizes: dict[str, int]) -> None:
    for number, size in sizes.items():
        touch(folder / f"nvgesture.7z.{number}", content=b"x" * size)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"001": 9, "002": 9, "003": 4}, "nvgesture.7z.001 lies there: unpack it here"),
        ({"001": 9, "003": 4}, "nvgesture.7z.002 is missing among its 3 parts: download it"),
        ({"002": 9, "003": 4}, "nvgesture.7z.001 is missing among its 3 parts: download it"),
        (
            {"001": 9, "002": 5, "003": 4},
            "nvgesture.7z.002 is of another size than nvgesture.7z.001: download it again",
        ),
        ({"001": 9, "002": 0}, "nvgesture.7z.002 is empty: download it again"),
    ],
)
def test_parts_of_an_archive_are_checked_by_name_and_size(tmp_path: Path, sizes: dict[str, int], message: str) -> None:
    (tmp_path / "Video_data").mkdir()
    volumes(tmp_path / "Video_data", sizes)
    assert explain_absence(tmp_path, ["Video_data"]) == message


@pytest.mark.parametrize(
    ("name", "is_data"),
    [
        ("a.wav", True),
        (".hidden", False),
        ("clips.zip", False),
        ("CLIPS.TAR.GZ", False),
        ("clips.7z.003", False),
        ("clips.zip.part", False),
        ("a.wav.CRDOWNLOAD", False),
        ("zip", True),
    ],
)
def test_a_folder_of_nothing_but_downloads_holds_no_data(tmp_path: Path, name: str, is_data: bool) -> None:
    touch(tmp_path / "first" / name, tmp_path / "second" / "b.wav")
    assert find_folder(tmp_path, "first", "second") == tmp_path / ("first" if is_data else "second")


def test_truncated_archives_are_told_from_whole_ones(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", "x" * 100)
    assert explain_absence(tmp_path) == "images.zip lies there: unpack it here"
    path.write_bytes(path.read_bytes()[:-30])
    assert explain_absence(tmp_path) == "images.zip is truncated: download it again"
    path.unlink()
    path = tmp_path / "k400.tar"
    path.write_bytes(b"x" * 512 + bytes(1024))
    assert explain_absence(tmp_path) == "k400.tar lies there: unpack it here"
    path.write_bytes(b"x" * 700)
    assert explain_absence(tmp_path) == "k400.tar is truncated: download it again"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter (pytest's own may not be, nor the one that TMPDIR names)."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def message_to_another_user(act: Callable[[], object]) -> str:
    """What ``act`` ends in, run by a user who owns nothing."""
    source, target = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            act()
            said = "no error"
        except Exception as error:  # noqa: BLE001
            said = f"{type(error).__name__}: {error}"
        os.write(target, said.encode())
        os._exit(0)
    os.close(target)
    with os.fdopen(source) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's place")
def test_what_another_user_may_not_read_is_named(open_folder: Path) -> None:
    locked = open_folder / "locked"
    touch(locked / "AudioWAV" / "a.wav", open_folder / "list.csv", open_folder / "stubs" / "a.wav")
    (open_folder / "list.csv").chmod(0o600)
    (open_folder / "stubs" / "a.wav").chmod(0o600)
    closed = open_folder / "beside" / "AudioWAV"
    touch(closed / "a.wav")
    closed.chmod(0o700)
    locked.chmod(0o700)
    attempts: list[tuple[Callable[[], object], Path]] = [
        (lambda: open_root(str(locked), "set `root`"), locked),
        (lambda: find_folder(locked, "AudioWAV"), locked / "AudioWAV"),
        (lambda: find_folder(closed.parent, "AudioWAV"), closed),
        (lambda: files_by_stem(locked, {".wav"}), locked),
        (lambda: files_by_stem(open_folder / "stubs", {".wav"}), open_folder / "stubs" / "a.wav"),
        (lambda: read_text(open_folder / "list.csv"), open_folder / "list.csv"),
        (lambda: Lists((locked,), "owner/name").find("a.csv"), locked / "a.csv"),
    ]
    for act, path in attempts:
        act()  # what is imported on the way may lie where the other user cannot read
        said = message_to_another_user(act)
        assert said.startswith(f"DataError: {path}: cannot be read (Permission denied); check"), said
