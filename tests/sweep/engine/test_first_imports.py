"""Collection rests while a process imports, and is as before afterwards, also where an import fails."""

from __future__ import annotations

import gc

import pytest

from sweep.engine.first_imports import without_collection


def test_collection_rests_meanwhile_and_spares_for_good_what_was_made() -> None:
    before = gc.get_freeze_count()
    with without_collection():
        assert not gc.isenabled()
        made: list[object] = []
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    assert not any(found is made for found in gc.get_objects())


def test_collection_goes_on_after_an_import_that_fails() -> None:
    with pytest.raises(ModuleNotFoundError), without_collection():
        raise ModuleNotFoundError
    assert gc.isenabled()


def test_within_another_collection_rests_until_the_end_of_the_outer_one() -> None:
    with without_collection():
        with without_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
