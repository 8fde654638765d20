"""Open the store at a path or URI, in the driver and in the processes that work for it."""

from __future__ import annotations

import socket
from functools import cache
from pathlib import Path

from sweep.runs.store import Store
from sweep.storage.files import StoreError
from sweep.storage.remote import Storage, is_uri


def open_store(results: str | Path) -> Store:
    """Open the store at a path or URI. Raises StoreError where the URI is none that pyarrow or fsspec knows."""
    if not is_uri(results):
        return Store(Path(results))
    from sweep.runs.mirror import MirroredStore

    return MirroredStore(Storage.at(str(results)))


@cache
def join_store(address: str, mark: str) -> Store:
    """Open the driver's store, as another process or node sees it: ``address`` and ``mark`` are the driver's
    ``Store.address`` and ``Store.mark()``. Raises StoreError where this node does not see the driver's folder."""
    store = open_store(address)
    if not store.is_marked(mark):
        raise StoreError(
            f"{socket.gethostname()} does not see the results folder of the driver, {address}: give --results a "
            "folder that all nodes share, or a URI such as s3://bucket/results"
        )
    return store


def local_folder(uri: str) -> Path:
    """Find the local folder of results at a URI, or of one sweep of them, and bring its records there."""
    uri = uri.rstrip("/")
    above, _, name = uri.rpartition("/")
    if Storage.at(uri).sizes(["index.jsonl"]):
        store = open_store(above)
        store.pull(name)
        return store.results / name
    store = open_store(uri)
    store.pull()
    return store.results
