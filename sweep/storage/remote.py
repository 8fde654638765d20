"""A folder of object storage, or of any file system that pyarrow or fsspec knows, named by a URI:
``s3://bucket/prefix``, ``gs://bucket/prefix``, ``abfs://``, ``hdfs://``, ``file:///path``, ``sftp://host/path``."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sweep.storage.files import StoreError, guarded, make_folder, write_atomic

THREADS = 16
"""Requests at a time where many files are fetched: what counts is waiting, not computing."""

ATOMIC = ("s3", "gcs", "abfs")
"""File systems whose write becomes visible whole, when it is closed. On others it is a rename that commits."""


def is_uri(text: str | Path) -> bool:
    """Tell whether results are named by a URI rather than by a path."""
    return "://" in str(text)


class Storage:
    """Files by key (their path below the URI, with "/"). Every method raises StoreError, naming the URI, where the
    storage cannot be reached or refuses."""

    def __init__(self, uri: str, filesystem: Any, root: str) -> None:
        self.uri, self._filesystem, self._root = uri, filesystem, root.rstrip("/")

    @classmethod
    def at(cls, uri: str) -> Storage:
        """Connect to the storage behind a URI; the credentials are those of the environment."""
        return _connect(uri.rstrip("/"))

    @classmethod
    def of_folder(cls, folder: Path) -> Storage:
        """Treat a local folder in the same way."""
        return cls.at(folder.resolve().as_uri())

    def read(self, key: str) -> bytes | None:
        """Read the content of a file; None where there is none."""
        with self._guarded("read", key):
            try:
                with self._filesystem.open_input_stream(self._path(key)) as stream:
                    content: bytes = stream.read()
                    return content
            except FileNotFoundError:
                return None

    def write(self, key: str, content: bytes) -> None:
        """Put a file in one piece: a reader finds the old content or the new one."""
        path = self._path(key)
        with self._guarded("write", key):
            if self._filesystem.type_name in ATOMIC:
                self._put(path, content)
                return
            folder, name = path.rsplit("/", 1)
            partial = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.partial"
            self._filesystem.create_dir(folder, recursive=True)
            self._put(partial, content)
            self._filesystem.move(partial, path)

    def remove(self, key: str) -> None:
        """Delete a file, where it is there."""
        with self._guarded("remove", key):
            try:
                self._filesystem.delete_file(self._path(key))
            except FileNotFoundError:
                return

    def names(self, key: str = "") -> list[str]:
        """List the names of the files and folders directly under ``key``; none where there is no such folder."""
        from pyarrow.fs import FileSelector

        with self._guarded("list", key):
            found = self._filesystem.get_file_info(FileSelector(self._path(key), allow_not_found=True))
            return sorted(info.base_name for info in found if not info.base_name.endswith(".partial"))

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Measure those of the files that are there, in bytes."""
        keys = list(keys)
        with self._guarded("list", ""):
            found = self._filesystem.get_file_info([self._path(key) for key in keys])
            return {key: info.size for key, info in zip(keys, found, strict=True) if info.is_file}

    def stamps(self, keys: Iterable[str]) -> dict[str, float]:
        """Tell when those of the files that are there were written, in seconds since the epoch by the storage's own
        clock; without those of a storage that does not say."""
        keys = list(keys)
        with self._guarded("list", ""):
            found = self._filesystem.get_file_info([self._path(key) for key in keys])
            pairs = zip(keys, found, strict=True)
            return {key: info.mtime_ns / 1e9 for key, info in pairs if info.is_file and info.mtime_ns is not None}

    def fetch(self, keys: Iterable[str], folder: Path) -> set[str]:
        """Copy files to the same keys below ``folder``, several at a time. Returns the keys of those that were
        there."""

        def one(key: str) -> str | None:
            content = self.read(key)
            if content is None:
                return None
            make_folder((folder / key).parent)
            write_atomic(folder / key, content)
            return key

        with ThreadPoolExecutor(THREADS) as pool:
            return {key for key in pool.map(one, keys) if key is not None}

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _put(self, path: str, content: bytes) -> None:
        with self._filesystem.open_output_stream(path) as stream:
            stream.write(content)

    @contextmanager
    def _guarded(self, doing: str, key: str) -> Iterator[None]:
        from pyarrow import ArrowException

        try:
            yield
        except (OSError, ArrowException) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            remedy = "check the network, the credentials and that the bucket or folder can be written"
            raise StoreError(f"cannot {doing} {self.uri}/{key}: {said}; {remedy}") from error


@cache
def _connect(uri: str) -> Storage:
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    try:
        return Storage(uri, *FileSystem.from_uri(uri))
    except ArrowException as unknown:
        from fsspec.core import url_to_fs

        try:
            filesystem, root = url_to_fs(uri)
        except (ValueError, ImportError) as error:
            raise StoreError(
                f"--results {uri}: {unknown}; {error}. Give a path, or a URI like s3://bucket/folder, "
                "gs://bucket/folder or file:///folder"
            ) from error
        return Storage(uri, PyFileSystem(FSSpecHandler(filesystem)), root)
    except OSError as error:
        raise StoreError(f"cannot reach {uri}: {error}; check the network and the credentials") from error


def make_mirror(uri: str) -> Path:
    """Make the folder that mirrors the results at ``uri``, for this user alone where it lies among others'. Raises
    StoreError where others may have written in it."""
    from data.base.files import distrust  # needs torch, which readers of a path do without

    folder = mirror_folder(uri)
    for each in (folder.parent, folder):
        if why := distrust(each):
            raise StoreError(
                f"{why}, so the copy of {uri} there is not to be trusted; set SWEEP_MIRROR to a folder of yours"
            )
    with guarded("make", folder.parent):
        os.makedirs(folder.parent, mode=0o700, exist_ok=True)
    return folder


def mirror_folder(uri: str) -> Path:
    """Return the folder of this machine and user that mirrors the results at ``uri``: below ``SWEEP_MIRROR``, else
    below the cache folder of the user (``XDG_CACHE_HOME``, ``~/.cache``), else, where there is no home, the temporary
    one."""
    place = os.environ.get("SWEEP_MIRROR")
    if place is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        if os.access(os.path.dirname(home), os.W_OK):
            place = os.path.join(home, "balanced-multimodal-sweeps")
        else:
            place = os.path.join(tempfile.gettempdir(), f"balanced-multimodal-sweeps-{os.geteuid()}")
    name = "".join(c if c.isalnum() else "-" for c in uri.partition("://")[2])[-40:].strip("-")
    return Path(place) / f"{name}-{hashlib.sha256(uri.rstrip('/').encode()).hexdigest()[:8]}"
