"""What a process imports first, without a look for garbage in between."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Leave garbage alone while torch and the like are imported, and what is there then for good: the million objects
    that they make live for ever, and looking through them again and again takes a sixth to a third of the start-up."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
