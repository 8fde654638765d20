"""Files on object storage, tried on a memory file system of fsspec and on file:// URIs."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from sweep.storage.files import StoreError
from sweep.storage.remote import Storage, mirror_folder

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
