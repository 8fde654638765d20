"""MSLR: rates by hand and by property, and what they do to a training."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training

from methods.base import MethodError, Validation
from methods.mslr import (
    MSLR,
    MSLRHyperparameters,
    dynamic_learning_rates,
    performance_ratio,
    smooth_learning_rates,
)
from sweep.training.loop import Training
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", {"window": 1}, path="dynamic"),
    Variant("frozen-of-three", {"strategy": "keep", "lr_scale": {"audio": 0.0, "text": 2.0}}, modalities=3),
    Variant("smooth-concat", {"strategy": "smooth", "lr_scale": {"audio": 0.2}, "fusion": "concat"}, path="fixed"),
    Variant("by-f1", {"performance": "macro_f1", "window": 2, "fusion": "gated"}, path="dynamic"),
]

# Equations -----------------------------------------------------------------------------------------------------

rates = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("given_rates", "expected"),
    [([1e-2, 1e-4], [3.162e-3, 3.162e-4]), ([2e-5, 5e-3], [7.953e-5, 1.257e-3])],
)
def test_smoothed_rates_of_the_paper(given_rates: list[float], expected: list[float]) -> None:
    assert smooth_learning_rates(given_rates) == pytest.approx(expected, rel=1e-3)


def test_smoothed_rates_around_the_arithmetic_mean() -> None:
    assert smooth_learning_rates([1e-4, 1e-3], 0.5, "linear") == pytest.approx([3.25e-4, 7.75e-4])
    assert smooth_learning_rates([0.0, 4.0, 8.0], 0.25, "linear") == pytest.approx([1.0, 4.0, 7.0])


@given(rates, st.sampled_from(["log", "linear"]))
def test_strengths_of_zero_and_one(given_rates: list[float], space: str) -> None:
    assert smooth_learning_rates(given_rates, 0.0, space) == pytest.approx(given_rates)
    one = smooth_learning_rates(given_rates, 1.0, space)
    assert one == pytest.approx([one[0]] * len(one))


@given(rates, st.floats(0, 1), st.sampled_from(["log", "linear"]), st.floats(1e-3, 1e3))
def test_a_common_factor_passes_through_smoothing(
    given_rates: list[float], strength: float, space: str, factor: float
) -> None:
    found = smooth_learning_rates([factor * rate for rate in given_rates], strength, space)
    assert found == pytest.approx([factor * rate for rate in smooth_learning_rates(given_rates, strength, space)])


def test_rates_that_cannot_be_smoothed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"positive.*0\.0"):
        smooth_learning_rates([1.0, 0.0])
    with pytest.raises(ValueError, match="space called 'lin', nearest is 'linear'"):
        smooth_learning_rates([1.0, 2.0], space="lin")


def test_the_ratio_is_taken_of_the_last_values_alone() -> None:
    assert performance_ratio([9.0, 0.2, 0.4], 0.6, window=2) == pytest.approx(2.0)
    assert performance_ratio([0.1, 0.2, 0.3, 0.4, 0.5], 0.15) == pytest.approx(0.5)


def test_the_ratio_is_one_where_there_is_nothing_to_compare_with() -> None:
    assert performance_ratio([], 0.7) == 1.0
    assert performance_ratio([0.1] * 4, 0.7) == 1.0
    assert performance_ratio([0.1] * 5, 0.7) == pytest.approx(7.0)
    assert performance_ratio([0.0] * 5, 0.7) == 1.0


def test_dynamic_rates_follow_each_modality() -> None:
    found = dynamic_learning_rates([0.1, 0.01], [[0.4, 0.6], [0.5, 0.5]], [0.75, 0.25], window=2)
    assert found == pytest.approx([0.15, 0.005])


@given(st.floats(1e-5, 1.0), st.floats(0.05, 0.9), st.integers(1, 6), st.floats(0.01, 0.1))
def test_flat_rising_and_falling_performance(initial: float, level: float, window: int, change: float) -> None:
    flat = [level] * window
    assert dynamic_learning_rates([initial], [flat], [level], window) == pytest.approx([initial])
    assert dynamic_learning_rates([initial], [flat], [level + change], window)[0] > initial
    assert dynamic_learning_rates([initial], [flat], [level * (1 - change)], window)[0] < initial


# Method --------------------------------------------------------------------------------------------------------


def epochs_of(training: Training) -> list[float]:
    return [record.loss for record in training.epochs()]


@pytest.mark.parametrize("fusion", ["sum", "concat", "weight", "late"])
def test_equal_scales_kept_are_joint_training_bit_for_bit(fusion: str) -> None:
    own = toy_training("mslr", {"strategy": "keep", "fusion": fusion}, epochs=2)
    joint = toy_training("joint", {"fusion": fusion}, epochs=2)
    assert epochs_of(own) == epochs_of(joint)
    for one, other in zip(own.method.parameters(), joint.method.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("fusion", ["concat", "sum", "weight", "affine", "gated", "ml_lstm", "etmc", "late"])
@pytest.mark.parametrize("modalities", [2, 3])
def test_groups_are_disjoint_and_cover_all_parameters(fusion: str, modalities: int) -> None:
    method = toy_method("mslr", toy_dataset(modalities), {"fusion": fusion})
    parts = [p for group in method.groups().values() for part in group
             for p in (part.parameters() if isinstance(part, torch.nn.Module) else [part])]  # fmt: skip
    assert len(parts) == len({id(p) for p in parts})
    assert {id(p) for p in parts} == {id(p) for p in method.parameters()}


def test_each_branch_is_stepped_at_its_rate() -> None:
    dataset = toy_dataset()
    recipe = Recipe(lr=0.1, momentum=0.0, weight_decay=0.0, batch_size=16)
    options = {"strategy": "smooth", "lr_scale": {"audio": 4.0}, "strength": 0.5, "fusion": "concat"}
    method = toy_method("mslr", dataset, options)
    before = copy.deepcopy(method)
    context = hand_driven_context(method, dataset, recipe)
    method.training_step(dataset.train.gather(torch.arange(16)), context)
    # Geometric mean of 4 and 1 is 2; half way in the logarithm lie sqrt(8) and sqrt(2).
    factors = {"encoders.audio": 8**0.5, "encoders.video": 2**0.5, "fusion": 1.0}
    for (name, new), old in zip(method.named_parameters(), before.parameters(), strict=True):
        factor = next(value for prefix, value in factors.items() if name.startswith(prefix))
        torch.testing.assert_close(new, old - 0.1 * factor * new.grad)


@pytest.mark.parametrize("options", [{"strategy": "keep"}, {"strategy": "dynamic", "window": 1}])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_scale_of_zero_freezes_the_branch(options: dict[str, object], optimizer: str) -> None:
    given_options = {**options, "lr_scale": {"video": 0.0}}
    training = toy_training("mslr", given_options, epochs=3, optimizer=optimizer, weight_decay=0.1)
    before = copy.deepcopy(training.method.state_dict())
    list(training.epochs())
    for name, value in training.method.state_dict().items():
        if name != "_extra_state":
            still = name.startswith(("encoders.video", "fusion.heads.1"))
            assert torch.equal(value, before[name]) is still, name


def test_rates_follow_the_validation_and_nothing_adds_up() -> None:
    dataset = toy_dataset()
    method = toy_method("mslr", dataset, {"window": 2, "lr_scale": {"audio": 3.0}}, epochs=20)
    context = hand_driven_context(method, dataset, Recipe(lr=0.1, batch_size=16))

    def after(audio: float, video: float) -> list[float]:
        scores = {"validation_accuracy": 0.9, "validation_accuracy_audio": audio, "validation_accuracy_video": video}
        method.on_validation(Validation(scores, {}, {}, torch.empty(0)), context)
        context.groups.refresh()
        return [context.groups.learning_rates[name] for name in ("audio", "video")]

    assert after(0.2, 0.5) == pytest.approx([0.3, 0.1])
    assert after(0.4, 0.5) == pytest.approx([0.3, 0.1])
    assert after(0.6, 0.5) == pytest.approx([0.6, 0.1])  # 0.6 over the mean of 0.2 and 0.4
    assert method.diagnostics() == pytest.approx({"ratio_audio": 2.0, "ratio_video": 1.0})
    assert after(0.25, 0.4) == pytest.approx([0.15, 0.08])
    for _ in range(10):
        rates = after(0.25, 0.4)
    assert rates == pytest.approx([0.3, 0.1])


def test_the_metric_can_be_chosen_and_the_schedule_multiplies() -> None:
    options = {"window": 1, "performance": "map"}
    training = toy_training("mslr", options, epochs=3, schedule={"name": "step", "every": 1})
    records = list(training.epochs())
    scores = [record.metrics["validation_map_audio"] for record in records]
    assert records[2].diagnostics["learning_rate_audio"] == pytest.approx(
        records[2].learning_rate * scores[1] / scores[0]
    )
    assert records[1].diagnostics["learning_rate_audio"] == pytest.approx(records[1].learning_rate)
    assert records[2].learning_rate < records[1].learning_rate


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 12))
def test_no_more_is_kept_than_the_window(window: int, validations: int) -> None:
    method = toy_method("mslr", toy_dataset(), {"window": window}, epochs=20)
    context = hand_driven_context(method, toy_dataset(), Recipe(batch_size=16))
    for number in range(validations):
        scores = {f"validation_accuracy_{m}": (number + 1) / 20 for m in method.modalities}
        method.on_validation(Validation(scores, {}, {}, torch.empty(0)), context)
    expected = [(number + 1) / 20 for number in range(validations)][-window:]
    assert method.get_extra_state() == {"audio": expected, "video": expected}
    assert "_extra_state" not in method.inference_state()


def test_a_window_may_be_a_share_of_the_budget() -> None:
    assert toy_method("mslr", toy_dataset(), {"window": 0.1}, epochs=40).window == 4
    assert toy_method("mslr", toy_dataset(), {}, epochs=40).window == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr_scale": {"sound": 2.0}}, "no modality 'sound'; the dataset gives a, b"),
        ({"strategy": "smooth", "lr_scale": {"a": 0.0}}, "0 has no logarithm"),
        ({"unimodal_source": "aux"}, "trains no auxiliary heads"),
        ({"fusion": "channel", "channel_mode": "cen"}, "share their convolutions"),
    ],
)
def test_what_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        MSLR.check(MSLRHyperparameters.model_validate(options), ("a", "b"))


def test_what_is_taken() -> None:
    for options in (
        {"strategy": "smooth", "space": "linear", "lr_scale": {"a": 0.0}},
        {"fusion": "channel"},
        {"unimodal_source": "zero"},
    ):
        MSLR.check(MSLRHyperparameters.model_validate(options), ("a", "b"))
    with pytest.raises(ValueError, match="lr_scale"):
        MSLRHyperparameters(lr_scale={"a": -1.0})


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("mslr")
