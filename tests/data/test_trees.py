from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data.base import DataError
from data.prepared.manifests import Lists, Row, read_text
from data.prepared.trees import (
    AbsentError,
    Files,
    FrameFolders,
    explain_absence,
    files_by_stem,
    find_folder,
    find_media,
    folders_by_name,
    need_folder,
    open_root,
    pictures,
)
from data.prepared.youtube import ClipTree, clip_row, parse_key

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4820\n"


def touch(*paths: Path, content: bytes = b"x") -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# Folders --------------------------------------------------------------------------------------------------------------


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


# Downloads ------------------------------------------------------------------------------------------------------------


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


# Samples --------------------------------------------------------------------------------------------------------------


def test_missing_media_are_listed_up_to_the_allowed_share(tmp_path: Path) -> None:
    touch(*(tmp_path / f"s{i}.wav" for i in range(8)))
    sounds = Files(files_by_stem(tmp_path, {".wav"}), "wav file")
    splits = {"train": [Row(f"s{i}", i % 2, "") for i in range(10)], "test": []}

    def find(allowed: float) -> tuple[int, tuple[tuple[str, str], ...]]:
        items, missing = find_media({"train": splits["train"]}, lambda row: {"audio": sounds[row.id]}, allowed)
        return len(items["train"]), missing

    assert find(0.2) == (8, (("s8", "no wav file"), ("s9", "no wav file")))
    with pytest.raises(DataError) as caught:
        find(0.19)
    assert str(caught.value) == (
        "train: 2 of 10 samples cannot be used, 20.0% where `allowed_missing` is 19.0% (s8: no wav file; s9: no wav "
        "file). Complete the data, or raise `allowed_missing`"
    )
    with pytest.raises(DataError, match="test: 0 of 0 samples"):
        find_media({"test": []}, lambda row: {}, 1.0)


def test_the_share_is_that_of_each_split() -> None:
    present = Files({"a": Path("a"), "b": Path("b")}, "wav file")
    many = [Row("a", 0, ""), Row("b", 0, "")]
    with pytest.raises(DataError, match=r"test: 2 of 2 samples cannot be used, 100\.0%"):
        find_media(
            {"train": many, "test": [Row("c", 0, ""), Row("d", 0, "")]}, lambda row: {"audio": present[row.id]}, 0.5
        )


def test_folders_with_too_few_frames_are_missing(tmp_path: Path) -> None:
    touch(*(tmp_path / "long" / f"{i}.jpg" for i in range(4)), tmp_path / "short" / "0.jpg")
    (tmp_path / "empty").mkdir()
    frames = FrameFolders(folders_by_name(tmp_path), ["long", "short", "empty", "gone"], "frames", 4)
    assert [path.name for path in frames["long"]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    for key, reason in [
        ("short", "1 frame of frames, fewer than 4"),
        ("empty", "0 frames of frames, fewer than 4"),
        ("gone", "no folder of frames"),
    ]:
        with pytest.raises(AbsentError, match=f"^{reason}$"):
            frames[key]


# YouTube --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "key"),
    [
        ("AbCdEfGhIjK_000012_000022", ("AbCdEfGhIjK", 12)),
        ("AbCdEfGhIjK_12", ("AbCdEfGhIjK", 12)),
        ("-_-a_1_22-__7", ("-_-a_1_22-_", 7)),
        ("__________1_000000_000010", ("__________1", 0)),
        ("AbCdEfGhIjK_30.mp4", ("AbCdEfGhIjK", 30)),
        ("AbCdEfGhIjK", None),
        ("short_12", None),
        ("AbCdEfGhIjK_12_frames", None),
    ],
)
def test_clips_by_the_first_eleven_characters_and_the_start(stem: str, key: tuple[str, int] | None) -> None:
    assert parse_key(stem) == key


def test_a_clip_has_one_id_however_its_list_pads() -> None:
    padded, plain = clip_row("-b_dEfGhIjK_000012_000022", 3, "x"), clip_row("-b_dEfGhIjK_12", 3, "x")
    assert padded == plain
    assert (padded.id, padded.group) == ("-b_dEfGhIjK_000012", "-b_dEfGhIjK")
    with pytest.raises(DataError, match="here: 'abc_1' is not of the form <YouTube id, 11 characters>_<start>"):
        clip_row("abc_1", 0, "here")


def test_clips_come_from_extracted_files_or_from_videos(tmp_path: Path) -> None:
    tree = ClipTree(sounds=("wav",), frames=("img",), videos=("k400/train", "k400/val"))
    key = ("AbCdEfGhIjK", 7)
    with pytest.raises(
        DataError, match=r"no clips; expected videos in k400/train or k400/val, or extracted ones in wav"
    ):
        tree.media(tmp_path, [key], 1)
    video = tmp_path / "k400" / "val" / "tickling" / "AbCdEfGhIjK_000007_000017.mp4"
    touch(video)
    audio, frames = tree.media(tmp_path, [key], 1)
    assert audio[key] == frames[key] == video
    sound = tmp_path / "wav" / "AbCdEfGhIjK_7.wav"
    touch(sound)
    audio, frames = tree.media(tmp_path, [key], 1)
    assert (audio[key], frames[key]) == (sound, video)
    touch(tmp_path / "img" / "AbCdEfGhIjK_7.mp4" / "00000.jpg")
    audio, frames = tree.media(tmp_path, [key], 1)
    assert frames[key] == (tmp_path / "img" / "AbCdEfGhIjK_7.mp4" / "00000.jpg",)
    shutil.rmtree(tmp_path / "k400")
    assert tree.media(tmp_path, [key], 1)[0][key] == sound


# Permissions ----------------------------------------------------------------------------------------------------------


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
    locked.chmod(0o700)
    attempts: list[tuple[Callable[[], object], Path]] = [
        (lambda: open_root(str(locked), "set `root`"), locked),
        (lambda: find_folder(locked, "AudioWAV"), locked / "AudioWAV"),
        (lambda: files_by_stem(locked, {".wav"}), locked),
        (lambda: files_by_stem(open_folder / "stubs", {".wav"}), open_folder / "stubs" / "a.wav"),
        (lambda: read_text(open_folder / "list.csv"), open_folder / "list.csv"),
        (lambda: Lists((locked,), "owner/name").find("a.csv"), locked / "a.csv"),
    ]
    for act, path in attempts:
        act()  # what is imported on the way may lie where the other user cannot read
        said = message_to_another_user(act)
        assert said.startswith(f"DataError: {path}: cannot be read (Permission denied); check"), said
