"""Stores opened by path or URI, also by the processes that work for a driver."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from sweep.runs.open_store import join_store, open_store
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


@pytest.mark.parametrize("uri", ["foo://bucket/x", "s4://bucket/x"])
def test_an_unknown_scheme_is_refused_with_examples(uri: str) -> None:
    with pytest.raises(StoreError, match=rf"{uri}.*s3://bucket/folder"):
        open_store(uri)
