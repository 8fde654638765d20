"""Fusions between stages: how maps are averaged, and that what is refused before anything is built cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models import encoders
from models.fusion import CENFusion, MMTMFusion, build, channel_refusal
from models.fusion.stages import frames, keep, squeeze, squeeze_clips

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


# Maps ----------------------------------------------------------------------------------------------------------


def test_maps_are_averaged_over_space_and_over_the_frames_of_a_clip() -> None:
    maps = torch.arange(48.0).view(4, 3, 2, 2)
    assert squeeze(maps)[0].tolist() == [1.5, 5.5, 9.5]
    assert torch.equal(squeeze(maps[:, :, 0, 0]), maps[:, :, 0, 0])
    assert squeeze(maps[..., 0]).tolist() == maps[..., 0].mean(2).tolist()
    assert [frames(maps, batch) for batch in (4, 2, 1, 0)] == [1, 2, 4, 1]
    assert squeeze_clips(maps, 2).tolist() == [[7.5, 11.5, 15.5], [31.5, 35.5, 39.5]]  # frames 0 and 1, 2 and 3
    assert [x.sum().item() for x in keep([maps, maps], [False, True])] == [0, maps.sum().item()]


# What all of them share ----------------------------------------------------------------------------------------


class _Encoder(nn.Module):
    """An encoder with as many stages as are said, and with a stem, or not; alone it doubles a feature [B, 2]."""

    def __init__(self, stages: int | None, stem: bool = True) -> None:
        super().__init__()
        self.out_dim = 2
        if stem:
            self.stem = nn.Linear(2, 2)
        if stages is not None:
            self.stages = nn.ModuleList(nn.Linear(2, 2) for _ in range(stages))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


@pytest.mark.parametrize("incomplete", [{"stages": None}, {"stages": 1, "stem": False}])
def test_an_encoder_that_lacks_its_stem_or_its_stages_has_none(incomplete: dict[str, Any]) -> None:
    parts = [_Encoder(1), _Encoder(**incomplete)]
    with pytest.raises(ValueError, match=r"encoder 2 \(_Encoder\) has no stem and stages: use cnn"):
        CENFusion(parts, 3)
    module = MMTMFusion(parts, 3)
    assert not module.staged
    features = [torch.ones(4, 2), torch.zeros(4, 2)]
    gates = module.gates["0"]([2 * x for x in features])
    torch.testing.assert_close(module.encode(features), [gates[0] * 2, torch.zeros(4, 2)])


@pytest.mark.parametrize("stages", [(1, 2), (0, 0), (2, 2, 1)])
def test_encoders_without_equally_many_stages_are_refused(stages: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needs encoders with equally many stages, these have \[\d"):
        MMTMFusion([_Encoder(count) for count in stages], 3)


def test_encoders_that_the_caller_holds_are_no_part_of_the_fusion() -> None:
    parts = [_Encoder(1), _Encoder(1)]
    named = {name.split(".")[0] for name, _ in MMTMFusion(parts, 3).named_parameters()}
    assert named == {"encoders", "heads", "gates"}
    apart = MMTMFusion(parts, 3, owns_encoders=False)
    assert {name.split(".")[0] for name, _ in apart.named_parameters()} == {"heads", "gates"}
    assert tuple(apart.encoders) == tuple(parts)


def test_every_modality_is_present_unless_it_is_said() -> None:
    module, inputs = MMTMFusion([_Encoder(1), _Encoder(1)], 3), [torch.ones(4, 2), torch.ones(4, 2)]
    everyone = module.encode(inputs)
    torch.testing.assert_close(everyone, module.encode(inputs, [True, True]))
    assert all(x.abs().sum() > 0 for x in everyone)
    torch.testing.assert_close(module(inputs).logits, module.fuse(everyone).logits)
    heads = [head(x) for head, x in zip(module.heads, everyone, strict=True)]
    torch.testing.assert_close(module.unimodal_logits(everyone), heads)
