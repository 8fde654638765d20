"""Fusions between stages: what is refused before anything is built is what cannot be built."""

from __future__ import annotations

from typing import Any

import pytest

from models import encoders
from models.fusion import build, channel_refusal

PICTURE = (3, 32, 32)


@pytest.mark.parametrize(
    ("mode", "specs", "said"),
    [
        ("mmtm", ("cnn", "cnn"), None),
        ("cen", ("cnn", "cnn"), None),
        ("cen", ("resnet18", "resnet18"), None),
        ("mmtm", ("resnet18", "resnet50"), None),
        ("mmtm", ("cnn", "mlp"), None),
        ("cen", ("cnn", "mlp"), "mlp, the encoder of b, has none; give it cnn or resnet18 or resnet50, or use mmtm"),
        (
            "mmtm",
            ("cnn", "resnet18"),
            "equally many stages, and these have: a 3 (cnn), b 4 (resnet18); give all the same",
        ),
        ("cen", ("resnet18", "resnet50"), "one architecture, and these are: a 4 (resnet18), b 4 (resnet50)"),
    ],
)
def test_a_refusal_comes_where_building_fails(mode: str, specs: tuple[str, str], said: str | None) -> None:
    named: dict[str, dict[str, Any]] = {m: {"name": name} for m, name in zip("ab", specs, strict=True)}
    found = channel_refusal(mode, named, dict.fromkeys("ab", PICTURE))
    built = [encoders.build(spec, PICTURE) for spec in named.values()]
    if said is None:
        assert found is None
        build("channel", built, 3, channel_mode=mode)
    else:
        assert said in (found or "")
        with pytest.raises(ValueError, match=r"^fusion (channel|mmtm|cen)"):
            build("channel", built, 3, channel_mode=mode)


def test_only_encoders_that_take_the_samples_are_named() -> None:
    specs = {"a": {"name": "mlp"}, "b": {"name": "cnn"}}
    assert "give it resnet18 or resnet50, or use" in (channel_refusal("cen", specs, {"a": (3, 1, 9, 9)}) or "")
    assert "has none; use mmtm" in (channel_refusal("cen", specs, {"a": (32,)}) or "")
    assert "give it cnn or conv1d or resnet18 or resnet50, or use" in (channel_refusal("cen", specs, {}) or "")


def test_channels_are_exchanged_between_maps_of_one_size() -> None:
    specs = {"a": {"name": "cnn"}, "b": {"name": "cnn"}}
    shapes = {"a": (1, 64, 64), "b": (3, 8, 8)}
    assert channel_refusal("mmtm", specs, shapes) is None
    assert "samples have: a [64, 64], b [8, 8]; use mmtm" in (channel_refusal("cen", specs, shapes) or "")
    assert channel_refusal("cen", specs, {"a": (1, 8, 8), "b": (3, 8, 8)}) is None
