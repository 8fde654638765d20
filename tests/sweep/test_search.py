"""What the room of searches gives by name."""

from __future__ import annotations

import pytest

import sweep.search
from sweep.search.early_stopping import StoppingRule
from sweep.search.racing import Decision, Race, RaceLog
from sweep.search.searcher import Search


def test_each_name_is_what_its_module_has_and_others_are_none() -> None:
    kinds = (Decision, Race, RaceLog, Search, StoppingRule)
    assert [getattr(sweep.search, name) for name in sweep.search.__all__] == list(kinds)
    with pytest.raises(AttributeError, match=r"module 'sweep\.search' has no attribute 'Serach'"):
        _ = sweep.search.Serach
