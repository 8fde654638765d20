"""Hyperparameters of the fusions: which options, modalities and methods they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.method_pages import assert_page_says_what_is_declared

import methods
from methods.base import MethodError
from methods.base.fusion_hyperparameters import (
    FusionHyperparameters,
    check_fused_loss_alone,
    check_fusion,
    check_late_is_joint,
    check_no_auxiliary_heads,
    check_own_heads,
    reads_tokens,
)
from methods.joint import Joint, JointHyperparameters

TWO = ("audio", "video")


def test_a_page_says_what_is_declared_of_every_fusion() -> None:
    assert_page_says_what_is_declared("ogm")  # which changes none of it


def test_heads_of_attention_divide_the_width_of_tokens() -> None:
    for options in ({"fusion": "attention", "heads": 3}, {"fusion": "late_transformer", "transformer_heads": 3}):
        with pytest.raises(MethodError, match=f"fusion {options['fusion']}: 3 heads do not divide a token_width of 64"):
            Joint.check(JointHyperparameters(token_width=64, **options), ("audio", "video"))
    Joint.check(JointHyperparameters(token_width=64, heads=3), ("audio", "video"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "etmc"}, "fusion etmc is trained by a loss of its own"),
        ({"fusion": "channel", "channel_mode": "cen"}, r"fusion channel \(cen\) is trained by a loss of its own"),
    ],
)
def test_methods_with_an_objective_of_their_own_refuse(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        check_fusion(FusionHyperparameters(**options), ("audio", "video"))
    Joint.check(JointHyperparameters(**options), ("audio", "video"))
    for name in methods.names():
        kind = methods.get(name)
        trains_fusion = not getattr(kind, "replaces_fusion_loss", True)
        if issubclass(kind.Hyperparameters, FusionHyperparameters) and not trains_fusion:
            with pytest.raises(MethodError, match=message):
                kind.check(kind.Hyperparameters(**options), ("audio", "video"))


def test_channel_is_for_methods_that_run_the_encoders_side_by_side() -> None:
    mmtm = FusionHyperparameters(fusion="channel")
    check_fusion(mmtm, ("audio", "video"), side_by_side=True)
    with pytest.raises(MethodError, match="fusion channel runs the encoders of all modalities together"):
        check_fusion(mmtm, ("audio", "video"))
    cen = FusionHyperparameters(fusion="channel", channel_mode="cen")
    with pytest.raises(MethodError, match="a loss of its own"):
        check_fusion(cen, ("audio", "video"), side_by_side=True)


def test_stages_are_numbered_from_one() -> None:
    assert JointHyperparameters().mmtm_stages == [2, 3, 4]
    for stages in ([], [0]):
        with pytest.raises(ValueError, match="numbered from 1"):
            JointHyperparameters(mmtm_stages=stages)

    assert JointHyperparameters(mmtm_stages=[1, 9]).mmtm_stages == [1, 9]
    with pytest.raises(ValueError, match="numbered from 1"):
        JointHyperparameters(mmtm_stages=[2, 0])


def test_the_width_of_tokens_is_divided_by_the_heads_of_its_own_fusion_alone() -> None:
    check_fusion(FusionHyperparameters(fusion="attention", heads=4, transformer_heads=3, token_width=64), TWO)
    check_fusion(FusionHyperparameters(fusion="late_transformer", heads=3, transformer_heads=4, token_width=64), TWO)
    check_fusion(FusionHyperparameters(fusion="attention", heads=3), TWO)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"film_target": "smell"}, "film_target: no modality 'smell'; the dataset gives audio, video"),
        ({"gate_target": "smell"}, "gate_target: no modality 'smell'; the dataset gives audio, video"),
        ({"fusion": "gated", "unimodal_source": "native"}, "fusion gated has no native unimodal logits"),
    ],
)
def test_options_that_name_what_is_not_there_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        check_fusion(FusionHyperparameters(**options), TWO)


def test_options_that_name_what_is_there_are_taken() -> None:
    check_fusion(FusionHyperparameters(film_target="video", gate_target="audio"), TWO)
    check_fusion(FusionHyperparameters(fusion="gated", unimodal_source="zero"), TWO)
    check_fusion(FusionHyperparameters(fusion="concat", unimodal_source="native"), TWO)


def test_fusions_that_need_two_modalities_say_so() -> None:
    for name in ("gated", "affine"):
        with pytest.raises(MethodError, match=f"fusion {name} is not defined for 1 modalities"):
            check_fusion(FusionHyperparameters(fusion=name), ("audio",))
    check_fusion(FusionHyperparameters(), ("audio",))


def test_tokens_are_read_by_fusions_of_tokens_alone() -> None:
    read = []
    for name in ("concat", "attention", "late_transformer"):
        for tokens in ("one", "all"):
            if reads_tokens(FusionHyperparameters.model_validate({"fusion": name, "tokens": tokens})):
                read.append((name, tokens))
    assert read == [("attention", "all"), ("late_transformer", "all")]


def test_channels_are_mixed_by_the_fusion_between_encoders_alone() -> None:
    assert FusionHyperparameters(fusion="channel", channel_mode="cen").mixes_channels == "cen"
    assert FusionHyperparameters(fusion="channel").mixes_channels == "mmtm"
    assert FusionHyperparameters(channel_mode="cen").mixes_channels is None


SEPARATE = {"fusion": "late", "late_train": "separate"}
NATIVE, ZERO, AUX = ({"unimodal_source": source} for source in ("native", "zero", "aux"))
DETACHED = {"aux_detach": True}


@pytest.mark.parametrize(
    ("check", "refused", "taken", "message"),
    [
        (check_late_is_joint, [SEPARATE], [{"fusion": "late", "late_train": "joint"}, {"late_train": "separate"}, AUX],
         "mine: fusion late needs late_train: joint"),
        (check_no_auxiliary_heads, [AUX, DETACHED, AUX | DETACHED], [{}, NATIVE, ZERO, SEPARATE],
         "mine trains no auxiliary heads"),
        (check_own_heads, [NATIVE, ZERO, DETACHED, AUX | DETACHED], [{}, AUX, SEPARATE],
         "mine: every modality has a head of its own"),
        (check_fused_loss_alone, [SEPARATE, AUX, DETACHED], [{}, NATIVE, ZERO], "^mine"),
    ],
)  # fmt: skip
def test_what_methods_refuse_of_heads(
    check: Callable[[str, FusionHyperparameters], None],
    refused: list[dict[str, Any]],
    taken: list[dict[str, Any]],
    message: str,
) -> None:
    for options in refused:
        with pytest.raises(MethodError, match=message):
            check("mine", FusionHyperparameters(**options))
    for options in taken:
        check("mine", FusionHyperparameters(**options))
