"""When a file counts as broken off: by what its header announces."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data.media import MediaError
from data.media._container import require_whole

TEN_SECONDS = SimpleNamespace(duration=1000, time_base=Fraction(1, 100))
UNKNOWN = SimpleNamespace(duration=None, time_base=Fraction(1, 100))


def container(kind: str, microseconds: int | None = None) -> Any:
    return SimpleNamespace(format=SimpleNamespace(name=kind), duration=microseconds)


@pytest.mark.parametrize("kind", ["mov,mp4,m4a,3gp,3g2,mj2", "avi", "flv", "matroska,webm"])
def test_a_tenth_and_half_a_second_may_be_missing(kind: str) -> None:
    require_whole(Path("a"), container(kind), TEN_SECONDS, 8.5)
    with pytest.raises(MediaError, match=r"^a: truncated, 8\.4 of 10\.0 seconds; copy or download it again$"):
        require_whole(Path("a"), container(kind), TEN_SECONDS, 8.4)


def test_a_stream_that_announces_nothing_is_as_long_as_its_container() -> None:
    require_whole(Path("a"), container("avi", 20_000_000), UNKNOWN, 17.5)
    with pytest.raises(MediaError, match=r"truncated, 17\.4 of 20\.0 seconds"):
        require_whole(Path("a"), container("avi", 20_000_000), UNKNOWN, 17.4)
    require_whole(Path("a"), container("avi"), UNKNOWN, 0.0)


def test_of_other_files_the_length_is_a_guess_that_is_not_believed() -> None:
    require_whole(Path("a"), container("mp3"), TEN_SECONDS, 0.1)
