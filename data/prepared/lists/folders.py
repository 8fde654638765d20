"""Folders of a dataset, searched without opening a file; what is not there is explained by what lies beside."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data.base import AbsentDataError, DataError
from data.base.files import GIT_LFS_POINTER

PICTURES = frozenset({".jpg", ".jpeg", ".png"})
_UNFINISHED = (".part", ".crdownload", ".aria2", ".download", ".partial")
_ARCHIVE = re.compile(r"(?P<name>.+?\.(?:7z|zip|rar|tar|tar\.gz|tgz|tar\.bz2))(?:\.(?P<part>\d{2,3}))?", re.IGNORECASE)
_LARGEST_STUB = 200
"""Bytes; Git LFS pointers have about 130."""


# Folders --------------------------------------------------------------------------------------------------------------


def open_root(root: str, remedy: str) -> Path:
    """Open the folder ``root``. Raises DataError where it is none, or cannot be read."""
    top = Path(root).expanduser()
    if not _is_folder(top):
        kind = "a file, not a folder" if top.is_file() else "no such folder"
        raise AbsentDataError(f"{top}: {kind}; {remedy}")
    entries(top)
    return top


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """List what ``folder`` holds, sorted by name, without names that begin with a dot (left behind by file managers).
    Raises DataError where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from error


def find_folder(top: Path, *places: str) -> Path | None:
    """Find the first of ``places`` under ``top`` that is a folder with something in it (but archives)."""
    return next((top / place for place in places if _is_folder(top / place) and _holds_data(top / place)), None)


def need_folder(top: Path, what: str, *places: str) -> Path:
    """Find a folder as :func:`find_folder` does. Raises DataError saying what was looked for, and what an unfinished
    download left."""
    if found := find_folder(top, *places):
        return found
    where = " or ".join(places)
    raise AbsentDataError(f"{top}: no {what}; expected {where}. {explain_absence(top, places)}")


def files_by_stem(folder: Path, suffixes: Collection[str], deep: bool = False) -> dict[str, Path]:
    """Map stem -> file of those with one of ``suffixes`` (lower case, with the dot); with ``deep`` in subfolders too.
    Raises DataError where Git LFS pointers stand in for files."""
    files: dict[str, Path] = {}
    small: list[Path] = []
    for entry in entries(folder):
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() in suffixes:
            path = files.setdefault(stem, Path(entry.path))
            if entry.stat().st_size <= _LARGEST_STUB:
                small.append(path)
        elif deep and entry.is_dir():
            files = {**files_by_stem(Path(entry.path), suffixes, deep), **files}
    _refuse_stubs(small, len(files))
    return files


def folders_by_name(folder: Path) -> dict[str, Path]:
    """Map name -> subfolder."""
    return {entry.name: Path(entry.path) for entry in entries(folder) if entry.is_dir()}


def pictures(folders: Iterable[Path]) -> dict[Path, tuple[Path, ...]]:
    """List the pictures in each folder, sorted by name. Several folders at once, as each may be a question to a
    server."""
    listed = list(dict.fromkeys(folders))
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(listed, pool.map(_pictures, listed), strict=True))


def _pictures(folder: Path) -> tuple[Path, ...]:
    return tuple(
        folder / entry.name for entry in entries(folder) if os.path.splitext(entry.name)[1].lower() in PICTURES
    )


def _holds_data(folder: Path) -> bool:
    try:
        with os.scandir(folder) as found:
            return any(not entry.name.startswith(".") and not _is_download(entry.name) for entry in found)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _is_download(name: str) -> bool:
    return name.lower().endswith(_UNFINISHED) or _ARCHIVE.fullmatch(name) is not None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions")


def _refuse_stubs(small: Sequence[Path], files: int) -> None:
    stubs = [path for path in small if _starts_as_stub(path)]
    if stubs:
        raise DataError(
            f"{stubs[0].parent}: {len(stubs)} of {files} files are Git LFS pointers, not media ({stubs[0].name}, ...); "
            "run `git lfs pull` in the clone of the dataset (a downloaded zip of the repository has pointers only)"
        )


def _starts_as_stub(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(GIT_LFS_POINTER)) == GIT_LFS_POINTER
    except OSError as error:
        raise _unreadable(path, error) from error


# Downloads ------------------------------------------------------------------------------------------------------------


def explain_absence(top: Path, places: Sequence[str] = ()) -> str:
    """Say what to do about media that are not there, from the archives that lie beside: unfinished, truncated, or only
    not unpacked yet."""
    folders = [top, *(top / place for place in places if _is_folder(top / place))]
    found = [entry for folder in folders for entry in entries(folder) if entry.is_file()]
    for entry in found:
        if entry.name.lower().endswith(_UNFINISHED):
            return f"{entry.name} is a download that was not finished: resume it, then unpack it here"
    volumes: dict[str, list[os.DirEntry[str]]] = {}
    for entry in found:
        if match := _ARCHIVE.fullmatch(entry.name):
            volumes.setdefault(match["name"], []).append(entry)
    for name, parts in volumes.items():
        return _damage(name, parts) or f"{parts[0].name} lies there: unpack it here"
    return "Set `root` to the folder that holds it"


def _damage(name: str, parts: Sequence[os.DirEntry[str]]) -> str | None:
    """Say what is wrong with an archive, as far as names, sizes and its last bytes tell."""
    if empty := next((part for part in parts if part.stat().st_size == 0), None):
        return f"{empty.name} is empty: download it again"
    numbers = {part.name.removeprefix(name): part for part in parts}
    if "" not in numbers:
        width = len(next(iter(numbers))) - 1
        first, last = (1, max(int(number[1:]) for number in numbers))
        for number in range(first, last + 1):
            if f".{number:0{width}d}" not in numbers:
                return f"{name}.{number:0{width}d} is missing among its {last} parts: download it"
        whole = parts[0].stat().st_size
        for part in parts[:-1]:
            if part.stat().st_size != whole:
                return f"{part.name} is of another size than {parts[0].name}: download it again"
        return None
    path = Path(parts[0].path)
    try:
        if name.lower().endswith(".zip") and not zipfile.is_zipfile(path):
            return f"{name} is truncated: download it again"
        if name.lower().endswith(".tar"):
            with path.open("rb") as file:
                file.seek(-min(1024, path.stat().st_size), os.SEEK_END)
                if any(file.read()):
                    return f"{name} is truncated: download it again"
    except OSError as error:
        raise _unreadable(path, error) from error
    return None
