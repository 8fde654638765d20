"""Stores opened by path or URI, also by the processes that work for a driver."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from sweep.runs.open_store import join_store, local_folder, open_store
from sweep.runs.store import Store
from sweep.storage.files import StoreError


def test_a_node_that_does_not_see_the_results_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    mark = store.mark()
    assert Store(tmp_path).mark() == mark
    assert join_store(str(tmp_path), mark).address == store.address
    with pytest.raises(StoreError, match="does not see the results folder of the driver"):
        join_store(str(tmp_path / "elsewhere"), mark)


@pytest.fixture(params=["memory", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid.uuid4().hex}/results" if request.param == "memory" else (tmp_path / "remote").as_uri()


def test_a_store_elsewhere_is_called_by_its_uri(tmp_path: Path) -> None:
    uri = (tmp_path / "remote").as_uri()
    assert (open_store(uri).address, str(open_store(uri))) == (uri, uri)


@pytest.mark.parametrize("ending", ["", "/"])
def test_results_elsewhere_and_one_sweep_of_them_are_brought_here(tmp_path: Path, ending: str) -> None:
    remote = tmp_path / "remote"
    for sweep in ("s", "t"):
        (remote / sweep).mkdir(parents=True)
        (remote / sweep / "index.jsonl").write_text("{}\n")
    one = local_folder(f"{(remote / 's').as_uri()}{ending}")
    assert one.name == "s"
    assert sorted(path.relative_to(one.parent).as_posix() for path in one.parent.glob("*/*")) == ["s/index.jsonl"]
    assert (one / "index.jsonl").read_text() == "{}\n"
    whole = local_folder(f"{remote.as_uri()}{ending}")
    assert whole == one.parent
    assert {path.parent.name for path in whole.glob("*/index.jsonl")} == {"s", "t"}


@pytest.mark.parametrize("uri", ["foo://bucket/x", "s4://bucket/x"])
def test_an_unknown_scheme_is_refused_with_examples(uri: str) -> None:
    with pytest.raises(StoreError, match=rf"{uri}.*s3://bucket/folder"):
        open_store(uri)
