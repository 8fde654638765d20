"""Files on object storage, tried on a memory file system of fsspec and on file:// URIs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import fsspec
import pytest
from pyarrow.fs import FileSystem

from sweep.storage.files import StoreError
from sweep.storage.remote import Storage, is_uri, mirror_folder

pytest_plugins = ["support.remote_folders"]


def test_a_file_is_given_back_replaced_listed_and_removed(uri: str, tmp_path: Path) -> None:
    storage = Storage.at(uri)
    assert storage.read("runs/a/final.json") is None
    assert storage.names("runs") == []
    for content in (b"old", b"new!"):
        storage.write("runs/a/final.json", content)
        assert storage.read("runs/a/final.json") == content
    storage.write("runs/b/log.txt", b"")
    assert storage.names("runs") == ["a", "b"]
    assert storage.names("runs/a") == ["final.json"]
    assert storage.sizes(["runs/a/final.json", "runs/b/final.json"]) == {"runs/a/final.json": 4}
    assert storage.fetch(["runs/a/final.json", "runs/b/final.json"], tmp_path / "here") == {"runs/a/final.json"}
    assert (tmp_path / "here/runs/a/final.json").read_bytes() == b"new!"
    for _ in range(2):
        storage.remove("runs/a/final.json")
        assert storage.read("runs/a/final.json") is None


def test_storage_that_refuses_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    storage = Storage.at((tmp_path / "file").as_uri())
    with pytest.raises(StoreError, match=r"cannot write file://.*/file/x: .*check the network, the credentials"):
        storage.write("x", b"")


def test_each_uri_has_a_mirror_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_MIRROR", "/mirror")
    assert mirror_folder("s3://bucket/a") == mirror_folder("s3://bucket/a/")
    assert len({mirror_folder(uri) for uri in ("s3://bucket/a", "gs://bucket/a", "s3://bucket/b")}) == 3


def test_fsspec_serves_the_schemes_that_pyarrow_does_not_know() -> None:
    Storage.at("memory://of-fsspec/x").write("a", b"content")
    assert fsspec.filesystem("memory").cat("/of-fsspec/x/a") == b"content"


def test_a_write_that_breaks_off_leaves_the_old_content_and_nothing_to_list(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage.at(uri)
    storage.write("runs/a/final.json", b"old")
    put = Storage._put

    def broken(self: Storage, path: str, content: bytes) -> None:
        put(self, path, content[:1])
        raise OSError("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "_put", broken)
        with pytest.raises(StoreError, match=r"cannot write .*runs/a/final.json: connection lost; check the network"):
            storage.write("runs/a/final.json", b"new")
    assert storage.read("runs/a/final.json") == b"old"
    assert storage.names("runs/a") == ["final.json"]


@pytest.mark.parametrize(("kind", "renames"), [("s3", 0), ("gcs", 0), ("abfs", 0), ("local", 1), ("hdfs", 1)])
def test_where_a_write_is_visible_as_a_whole_it_needs_no_rename(tmp_path: Path, kind: str, renames: int) -> None:
    moved, (local, root) = list[str](), FileSystem.from_uri(tmp_path.as_uri())

    class Recorded:
        type_name = kind
        open_output_stream = staticmethod(local.open_output_stream)
        create_dir = staticmethod(local.create_dir)

        def move(self, source: str, to: str) -> None:
            moved.append(to)
            local.move(source, to)

    Storage("of a test", Recorded(), root).write("final.json", b"content")
    assert len(moved) == renames
    assert (tmp_path / "final.json").read_bytes() == b"content"


def test_a_path_is_no_uri() -> None:
    assert [is_uri(text) for text in ("s3://bucket/a", "file:///a", "a/b", Path("/a"))] == [True, True, False, False]


def test_a_uri_that_nobody_knows_is_refused_with_examples() -> None:
    with pytest.raises(StoreError, match=r"--results nosuch://x/y: .*Give a path, or a URI like s3://bucket/folder"):
        Storage.at("nosuch://x/y")


def test_a_slash_at_the_end_of_a_uri_makes_no_difference(uri: str) -> None:
    Storage.at(uri).write("a", b"1")
    assert Storage.at(f"{uri}/").read("a") == b"1"
    assert Storage.at(f"{uri}/").uri == uri


def test_a_mirror_lies_in_the_users_cache_or_where_there_is_no_home_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWEEP_MIRROR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mirror = mirror_folder("s3://bucket/of/results")
    assert mirror.parent == tmp_path / "cache/balanced-multimodal-sweeps"
    assert mirror.name.startswith("bucket-of-results-")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    assert mirror_folder("s3://b").parent == tmp_path / "home/.cache/balanced-multimodal-sweeps"
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    assert mirror_folder("s3://b").parent == Path(tempfile.gettempdir()) / f"balanced-multimodal-sweeps-{os.geteuid()}"
    long = mirror_folder("s3://" + "/".join("abcdef" for _ in range(20)))
    assert len(long.name) <= 40 + 1 + 8
