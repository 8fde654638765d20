"""Methods and datasets are found by name, those of other packages too."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import data
import methods
from data.digits import Digits
from methods.joint import Joint


class OtherMethod(Joint):
    name = "other"


class OtherSource(Digits):
    name = "other"


ROOMS: list[tuple[ModuleType, Callable[[], Any], str, type]] = [
    (methods, methods._methods, "sweep.methods", OtherMethod),
    (data, data._sources, "sweep.datasets", OtherSource),
]


class Entry:
    """An entry point of an installed package."""

    def __init__(self, found: type) -> None:
        self._found = found

    def load(self) -> type:
        return self._found


@pytest.mark.parametrize(("room", "registry", "group", "found"), ROOMS)
def test_other_packages_join_by_entry_points(
    room: ModuleType, registry: Any, group: str, found: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, expected = room.names(), group
    monkeypatch.setattr(room, "entry_points", lambda group: [Entry(found)] if group == expected else [])
    registry.cache_clear()
    try:
        assert room.get("other") is found
        assert room.names() == sorted([*before, "other"])
    finally:
        registry.cache_clear()
        monkeypatch.undo()


@pytest.mark.parametrize("room", [methods, data])
def test_an_unknown_name_is_refused_with_those_there_are(room: ModuleType) -> None:
    with pytest.raises(KeyError, match=f"called 'nothing'; there are: .*{room.names()[-1]}"):
        room.get("nothing")
