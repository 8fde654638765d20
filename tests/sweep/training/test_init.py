"""What the room offers at its door."""

from __future__ import annotations

import pytest

import sweep.training
from sweep.training import epoch_record, loop, recipe


def test_the_room_gives_the_loop_its_records_and_its_recipe() -> None:
    modules = {"EpochRecord": epoch_record, "Recipe": recipe}
    found = {name: getattr(sweep.training, name) for name in sweep.training.__all__}
    assert found == {name: getattr(modules.get(name, loop), name) for name in sweep.training.__all__}
    assert callable(found["fit"])


def test_what_the_room_does_not_offer_is_no_attribute_of_it() -> None:
    with pytest.raises(AttributeError, match=r"module 'sweep.training' has no attribute 'keep_copies'"):
        sweep.training.keep_copies  # noqa: B018
