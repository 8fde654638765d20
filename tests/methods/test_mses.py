"""MSES: plateaus by hand and by a naive reading, and what stops when in a training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor
from torch.nn import functional as F

from methods.base import MethodError, Validation
from methods.mses import MSES, MSESHyperparameters, multitask_loss, plateau_state, smooth_history
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", {"branch_patience": 1, "stop_when_all": False}, path="stop"),
    Variant("slow-down-of-three", {"branch_patience": 0, "decay": 0.5, "smooth_mode": "ema"}, modalities=3),
    Variant("witness", {"fusion": "sum", "uni_weight": 0.0, "branch_patience": 0.5, "smooth_mode": "none"}),
    Variant("gated", {"fusion": "gated", "restore": "none"}, path="stop"),
]
MODES = ["two_tap", "ema", "none"]

# Equations -----------------------------------------------------------------------------------------------------


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_smoothed_losses_by_hand() -> None:
    history = column(4.0, 2.0, 3.0)
    assert smooth_history(history).flatten().tolist() == pytest.approx([4.0, 3.2, 2.4])
    assert smooth_history(history, 0.4, "ema").flatten().tolist() == pytest.approx([4.0, 3.2, 3.12])
    assert smooth_history(history, 0.4, "none").tolist() == history.tolist()
    assert smooth_history(history, 1.0).tolist() == history.tolist()
    with pytest.raises(ValueError, match="smooth_mode called 'two', nearest is 'two_tap'"):
        smooth_history(history, 0.4, "two")


def test_a_plateau_by_hand() -> None:
    state = plateau_state(column(3.0, 2.0, 2.0, 2.5, 2.2, 1.0, 5.0), 2, smooth_mode="none")
    assert state["best_epoch"].tolist() == [2]  # an equal value is no minimum, and 1.0 came after the stop
    assert state["best_value"].tolist() == [2.0]
    assert state["event_epoch"].tolist() == [5]
    assert state["lr_scale"].tolist() == [0.0]
    assert state["smoothed"].flatten().tolist() == [3.0, 2.0, 2.0, 2.5, 2.2, 1.0, 5.0]
    assert {state[key].dtype for key in ("best_epoch", "event_epoch")} == {torch.int64}


def test_with_decay_counting_starts_again_at_a_plateau() -> None:
    state = plateau_state(column(1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.5), 1, smooth_mode="none", decay=0.1)
    # Plateaus at 3 and 5; the minimum at 7 is still found.
    assert state["lr_scale"].tolist() == pytest.approx([0.01])
    assert state["event_epoch"].tolist() == [5]
    assert state["best_epoch"].tolist() == [7]


def test_one_epoch_is_a_minimum() -> None:
    for value in (1.0, float("inf")):
        state = plateau_state(column(value), 0)
        assert (state["best_epoch"].item(), state["event_epoch"].item(), state["lr_scale"].item()) == (1, 0, 1.0)


def test_a_loss_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        plateau_state(column(1.0, float("nan")), 2)


def read_naively(values: list[float], patience: int, decay: float) -> tuple[int, int, float]:
    """Follow the definition for one modality, epoch by epoch."""
    best, event, scale = 1, 0, 1.0
    for epoch in range(1, len(values) + 1):
        if scale == 0:
            break
        if all(values[epoch - 1] < earlier for earlier in values[: epoch - 1]):
            best = epoch
        if epoch - max(best, event) > patience:
            event, scale = epoch, scale * decay
    return best, event, scale


losses = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=14)


@settings(max_examples=80, deadline=None)
@given(losses, st.integers(0, 4), st.sampled_from([0.0, 0.5]), st.sampled_from(MODES))
def test_states_are_those_of_the_definition(rows: Any, patience: int, decay: float, mode: str) -> None:
    history = torch.tensor(rows, dtype=torch.float64)
    state = plateau_state(history, patience, 0.4, mode, decay)
    for modality in range(3):
        found = [state[key][modality].item() for key in ("best_epoch", "event_epoch", "lr_scale")]
        values = state["smoothed"][:, modality].tolist()
        assert tuple(found) == read_naively(values, patience, decay)
        assert state["best_value"][modality].item() == values[int(found[0]) - 1]


@settings(max_examples=30, deadline=None)
@given(losses, st.permutations([0, 1, 2]), st.sampled_from(MODES))
def test_permuted_modalities_have_permuted_states(rows: Any, order: list[int], mode: str) -> None:
    history = torch.tensor(rows, dtype=torch.float64)
    plain, permuted = plateau_state(history, 1, 0.4, mode), plateau_state(history[:, order], 1, 0.4, mode)
    for key, value in permuted.items():
        assert torch.equal(value, plain[key][..., order])


@given(st.integers(0, 10), st.sampled_from(MODES))
def test_falling_losses_never_stop_and_rising_ones_do_after_patience(patience: int, mode: str) -> None:
    falling, rising = torch.arange(20.0, 0, -1)[:, None], torch.arange(1.0, 21)[:, None]
    assert plateau_state(falling, patience, 0.4, mode)["lr_scale"].item() == 1
    assert plateau_state(rising[: patience + 1], patience, 0.4, mode)["lr_scale"].item() == 1
    state = plateau_state(rising, patience, 0.4, mode)
    assert (state["lr_scale"].item(), state["event_epoch"].item()) == (0, patience + 2)


def test_the_multitask_loss() -> None:
    loss, own = torch.tensor(1.5), torch.tensor([0.5, 1.0])
    assert multitask_loss(loss, own).item() == 3.0
    assert multitask_loss(loss, own, 0.2).item() == pytest.approx(1.8)
    assert multitask_loss(loss, torch.zeros(0)).item() == 1.5


# Method --------------------------------------------------------------------------------------------------------


def driven(epochs: int = 20, recipe: Recipe | None = None, **hyperparameters: Any) -> tuple[MSES, TrainingContext]:
    method = toy_method("mses", toy_dataset(), hyperparameters, epochs=epochs)
    assert isinstance(method, MSES)
    return method, hand_driven_context(method, toy_dataset(), recipe or Recipe(lr=0.1, batch_size=16))


def validate(method: MSES, context: TrainingContext, audio: float, video: float) -> None:
    """Let a validation with these losses pass, and bring the groups to the next epoch."""
    losses = {"multi": 1.0, "audio": audio, "video": video}
    method.on_validation(Validation({}, losses, {}, torch.empty(0)), context)
    context.groups.refresh()


def moved(method: MSES, before: dict[str, Tensor]) -> set[str]:
    """Name the parts whose parameters or buffers have changed."""
    now = {name: value for name, value in method.state_dict().items() if torch.is_tensor(value)}
    parts = ("encoders.audio", "encoders.video", "fusion.aux_heads.0", "fusion.aux_heads.1", "fusion.head")
    changed = {name for name, value in now.items() if not torch.equal(value, before[name])}
    return {part for part in parts if any(name.startswith(part) for name in changed)}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_stopped_branch_goes_back_to_its_best_epoch_and_rests(optimizer: str) -> None:
    recipe = Recipe(lr=0.05, batch_size=16, optimizer=optimizer, weight_decay=0.1)
    method, context = driven(branch_patience=1, recipe=recipe)
    batch = toy_dataset().train.gather(torch.arange(16))
    states = []
    for video in (3.0, 2.0, 4.0, 5.0):
        method.training_step(batch, context)
        states.append(copy.deepcopy(method.state_dict()))
        assert context.rates.get("video", 1.0) == 1
        validate(method, context, audio=10.0 - len(states), video=video)
    # The smoothed losses of video are 3, 2.6, 2.8, 4.4: best after epoch 2, stopped after 4.
    assert context.rates == {"audio": 1.0, "video": 0.0}
    assert method.finished is None
    assert method.diagnostics() == pytest.approx(
        {
            "rate_factor_audio": 1.0, "smoothed_loss_audio": 0.6 * 7 + 0.4 * 6, "best_epoch_audio": 4.0,
            "rate_factor_video": 0.0, "smoothed_loss_video": 4.4, "best_epoch_video": 2.0,
        }
    )  # fmt: skip
    for name, value in method.state_dict().items():
        if name.startswith(("encoders.video", "fusion.aux_heads.1")):
            assert torch.equal(value, states[1][name])
        elif name.startswith(("encoders.audio", "fusion.")):
            assert torch.equal(value, states[3][name])
    before = copy.deepcopy(method.state_dict())
    loss = method.training_step(batch, context)
    assert moved(method, before) == {"encoders.audio", "fusion.aux_heads.0", "fusion.head"}
    twin = copy.deepcopy(method)
    twin.load_state_dict(before)
    outputs = twin(batch)
    own = F.cross_entropy(outputs.unimodal_logits[0], batch.labels)
    torch.testing.assert_close(loss, (F.cross_entropy(outputs.logits, batch.labels) + own).detach())
    assert not method.encoders["video"].training
    assert method.encoders["audio"].training


def test_without_restoring_a_branch_stays_where_it_stopped() -> None:
    method, context = driven(branch_patience=0, restore="none")
    assert not method.kept
    batch = toy_dataset().train.gather(torch.arange(16))
    for video in (1.0, 2.0):
        method.training_step(batch, context)
        before = copy.deepcopy(method.state_dict())
        validate(method, context, 1.0 / video, video)
    assert context.rates["video"] == 0
    assert moved(method, before) == set()


def test_with_decay_a_branch_slows_down() -> None:
    method, context = driven(branch_patience=0, decay=0.5)
    for loss in (1.0, 2.0, 3.0):
        validate(method, context, 1.0 / loss, loss)
    assert context.groups.learning_rates == pytest.approx({"audio": 0.1, "video": 0.025, "multi": 0.1})
    assert not method.kept
    assert method.finished is None


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({}, True),
        ({"stop_when_all": False}, None),
        ({"stop_when_all": False, "fusion": "sum", "uni_weight": 0.0}, True),  # nothing is left to learn
    ],
)
def test_the_end_when_all_have_stopped(options: dict[str, Any], ends: bool | None) -> None:
    method, context = driven(branch_patience=0, **options)
    validate(method, context, 1.0, 1.0)
    validate(method, context, 0.5, 2.0)
    assert method.finished is None
    validate(method, context, 3.0, 3.0)
    assert context.rates == {"audio": 0.0, "video": 0.0}
    assert method.finished is ends
    if ends is None:
        before = copy.deepcopy(method.state_dict())
        method.training_step(toy_dataset().train.gather(torch.arange(16)), context)
        assert moved(method, before) == {"fusion.head"}


def test_a_training_ends_when_all_have_stopped_and_the_fusion_may_go_on() -> None:
    options = {"branch_patience": 0, "smooth_mode": "none"}
    short = list(toy_training("mses", options, epochs=30).epochs())
    assert len(short) < 30
    assert short[-1].diagnostics["rate_factor_audio"] == short[-1].diagnostics["rate_factor_video"] == 0
    assert short[-2].diagnostics["rate_factor_audio"] + short[-2].diagnostics["rate_factor_video"] > 0
    longer = toy_training("mses", {**options, "stop_when_all": False}, epochs=len(short) + 2)
    records = list(longer.epochs())
    assert len(records) == len(short) + 2
    assert set(records[-1].diagnostics) >= {"learning_rate_multi"}
    assert "learning_rate_audio" not in records[-1].diagnostics
    for modality in ("audio", "video"):
        one, other = (record.metrics[f"validation_map_{modality}"] for record in records[-2:])
        assert one == other


@pytest.mark.parametrize("fusion", ["sum", "late"])
def test_without_unimodal_losses_and_with_patience_it_is_joint_training(fusion: str) -> None:
    options = {"uni_weight": 0.0, "branch_patience": 3, "fusion": fusion, "unimodal_source": "native"}
    own, joint = toy_training("mses", options, epochs=3), toy_training("joint", {"fusion": fusion}, epochs=3)
    assert [r.loss for r in own.epochs()] == [r.loss for r in joint.epochs()]
    expected = joint.method.state_dict()
    for name, value in own.method.inference_state().items():
        assert torch.equal(value, expected[name])


def test_heads_are_those_of_the_sum_where_they_have_no_loss_of_their_own() -> None:
    assert driven(fusion="sum", uni_weight=0.0)[0].source == "native"
    assert driven(fusion="sum")[0].source == "aux"
    method = driven(fusion="concat", unimodal_source="zero")[0]
    assert [len(group) for group in method.groups().values()] == [1, 1, 2]


def test_copies_are_neither_trained_nor_exported() -> None:
    method, context = driven()
    copies = {id(p) for p in method.kept.parameters()}
    assert copies
    assert not copies & {id(p) for p in context.groups.parameters}
    assert not any(p.requires_grad for p in method.kept.parameters())
    assert not [name for name in method.inference_state() if name.startswith(("kept", "_extra"))]


def test_untrained_heads_are_warned_of() -> None:
    said: list[str] = []
    for options in ({"uni_weight": 0.0}, {"uni_weight": 0.0, "fusion": "sum"}, {}):
        method = toy_method("mses", toy_dataset(), options)
        context = hand_driven_context(method, toy_dataset(), Recipe(), warn=said.append)
        method.on_fit_start(context)
    assert len(said) == 1
    assert "heads of the modalities learn nothing" in said[0]


def test_patience_is_a_share_of_the_budget() -> None:
    assert driven(epochs=50)[0].patience == 5
    assert driven(epochs=50, branch_patience=7)[0].patience == 7
    with pytest.raises(MethodError, match="share their convolutions"):
        MSES.check(MSESHyperparameters(fusion="channel", channel_mode="cen"), ("a", "b"))


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("mses")
