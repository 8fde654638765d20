"""AGM: its equations against values by hand and what they promise, and its training against one written out by hand."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.equality import assert_same
from support.hand_driven_context import hand_driven_context, move_to
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Dataset, Split
from methods.agm import (
    AGM,
    AGMHyperparameters,
    clip_by_head,
    contribution_scores,
    discrepancy_ratios,
    modulation_coefficients,
    scale_gradient,
    shapley_contributions,
    update_running_scores,
)
from methods.base import MethodError
from models import encoders
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="response"),
    Variant("three", {"clip_trigger": 0.3, "cap": None}, modalities=3, path="response of three", epochs_to_learn=12),
    Variant("encoder", {"grad": "encoder", "fusion": "gated", "clip_trigger": None}, epochs_to_learn=12),
]

NAMES = ("audio", "video", "text")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Equations -----------------------------------------------------------------------------------------------------


def random_coalitions(names: tuple[str, ...], seed: int) -> dict[str, Tensor]:
    members = [c for size in range(1, len(names) + 1) for c in combinations(names, size)]
    return {"+".join(c): draw(5, 3, seed=seed + k) for k, c in enumerate(members)}


def test_responses_of_two_and_three_modalities_are_those_of_the_card() -> None:
    f = random_coalitions(NAMES[:2], 0)
    audio, video = shapley_contributions(f, ["audio", "video"])
    torch.testing.assert_close(audio, (f["audio+video"] - f["video"] + f["audio"]) / 2)
    torch.testing.assert_close(video, (f["audio+video"] - f["audio"] + f["video"]) / 2)
    f = random_coalitions(NAMES, 7)
    first = (f["audio+video+text"] - f["video+text"] + f["audio"]) / 3
    first = first + (f["audio+video"] - f["video"] + f["audio+text"] - f["text"]) / 6
    torch.testing.assert_close(shapley_contributions(f, list(NAMES))[0], first)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_responses_equal_a_mean_over_orders_and_add_up(seed: int, count: int) -> None:
    names = ("audio", "video", "text", "touch")[:count]
    f = random_coalitions(names, seed)
    expected = {m: torch.zeros(5, 3, dtype=torch.float64) for m in names}
    for order in permutations(names):
        for place, m in enumerate(order):
            before = "+".join(each for each in names if each in order[:place])
            after = "+".join(each for each in names if each in order[: place + 1])
            expected[m] += (f[after] - (f[before] if before else 0)) / math.factorial(count)
    found = shapley_contributions(f, list(names))
    for phi, m in zip(found, names, strict=True):
        torch.testing.assert_close(phi, expected[m])
    torch.testing.assert_close(torch.stack(found).sum(0), f["+".join(names)])


def test_a_missing_coalition_is_named() -> None:
    f = random_coalitions(NAMES, 0)
    del f["video+text"]
    with pytest.raises(KeyError, match=r"coalition 'video\+text'"):
        shapley_contributions(f, list(NAMES))


def test_scores_by_hand_have_a_floor() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]])
    sure = torch.tensor([[100.0, 0.0], [100.0, 0.0]])
    found = contribution_scores([logits, sure], torch.tensor([1, 1]))
    assert found.tolist() == pytest.approx([-(math.log(0.75) + math.log(0.2)) / 2, -math.log(1e-8)])
    assert float(contribution_scores([sure], torch.tensor([1, 1]), 1e-4)) == pytest.approx(-math.log(1e-4))
    half = contribution_scores([logits.bfloat16()], torch.tensor([1, 1]))
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(found[0]), rel=1e-2)


def test_ratios_and_coefficients_by_hand() -> None:
    scores = torch.tensor([0.5, 1.5])
    assert discrepancy_ratios(scores).tolist() == pytest.approx([math.e, 1 / math.e])
    assert discrepancy_ratios(torch.tensor([1.0, 2.0, 6.0])).tolist() == pytest.approx(
        [math.exp(3), math.exp(1.5), math.exp(-4.5)]
    )
    # at the first step the running scores are 0, so that their ratios are 1
    first = modulation_coefficients(scores, torch.zeros(2), 0.5)
    assert first.tolist() == pytest.approx([math.exp(0.5 * (1 - math.e)), math.exp(0.5 * (1 - 1 / math.e))])
    # a change of e^4 - e^-4 in the lead counts as 10, or as it is
    change = math.exp(4) - math.exp(-4)
    far = (torch.tensor([5.0, 1.0]), torch.tensor([1.0, 5.0]))
    assert modulation_coefficients(*far, 0.1)[0].item() == pytest.approx(math.exp(1), rel=1e-5)
    assert modulation_coefficients(*far, 0.1, None)[0].item() == pytest.approx(math.exp(0.1 * change), rel=1e-4)
    assert modulation_coefficients(*far, 0.1, 2.0)[0].item() == pytest.approx(math.exp(0.2), rel=1e-5)
    assert modulation_coefficients(*far, 0.1)[1].item() == pytest.approx(math.exp(-0.1 * change), rel=1e-4)


score_lists = st.lists(st.floats(0.01, 5), min_size=2, max_size=4)


@settings(max_examples=40, deadline=None)
@given(score_lists, st.floats(0.05, 3))
def test_a_lead_that_has_not_changed_modulates_nothing(scores: list[float], alpha: float) -> None:
    s = torch.tensor(scores, dtype=torch.float64)
    assert modulation_coefficients(s, s, alpha).tolist() == [1.0] * len(scores)
    assert modulation_coefficients(s, s.flip(0), 0.0).tolist() == [1.0] * len(scores)
    if len(scores) == 2:
        assert float(discrepancy_ratios(s).prod()) == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 5), st.floats(0.05, 5), st.floats(0.01, 1), st.floats(0.05, 3))
def test_of_two_the_one_whose_lead_has_grown_is_slowed_down(
    first: float, second: float, by: float, alpha: float
) -> None:
    running = torch.tensor([first, second], dtype=torch.float64)
    now = running - torch.tensor([by, 0.0], dtype=torch.float64)
    slowed, sped = modulation_coefficients(now, running, alpha).tolist()
    assert slowed < 1 < sped


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_running_scores_are_means_of_all_steps(seed: int, steps: int) -> None:
    scores, running = draw(steps, 3, seed=seed), torch.zeros(3, dtype=torch.float64)
    for n, each in enumerate(scores, start=1):
        running = update_running_scores(running, each, n)
    torch.testing.assert_close(running, scores.mean(0))


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 3e4])
def test_a_scaled_gradient_leaves_the_value(coefficient: float) -> None:
    for factor in (coefficient, torch.tensor(coefficient)):
        x = draw(4).float().requires_grad_()
        scaled = scale_gradient(x, factor)
        torch.testing.assert_close(scaled, x, atol=0, rtol=1e-6)
        (gradient,) = torch.autograd.grad((scaled * torch.arange(4.0)).sum(), x)
        torch.testing.assert_close(gradient, coefficient * torch.arange(4.0))
    assert not scale_gradient(torch.ones(2), 2.0).requires_grad


@pytest.mark.parametrize(("trigger", "clips"), [(0.5, True), (4.0, False), (100.0, False)])
def test_the_head_s_largest_gradient_decides_whether_all_are_clipped(trigger: float, clips: bool) -> None:
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([30.0, 0.0]), torch.tensor([0.3, -4.0])
    before = [p.grad.clone() for p in parameters[:2]]
    assert bool(clip_by_head(parameters, [parameters[1], parameters[2]], trigger)) is clips
    norm = math.sqrt(30**2 + 0.3**2 + 4**2)
    for p, grad in zip(parameters, before, strict=False):
        torch.testing.assert_close(p.grad, grad * (trigger / norm if clips else 1.0), atol=1e-6, rtol=1e-5)
    assert parameters[2].grad is None


# Training ------------------------------------------------------------------------------------------------------


def images(modalities: int) -> Dataset:
    """Images of which one modality says little: convolutions with batch norm."""
    random = torch.Generator().manual_seed(7)
    labels = torch.arange(24) % 3
    centres = torch.randn(modalities, 3, 1, 6, 6, generator=random)
    noise = [torch.randn(24, 1, 6, 6, generator=random) * (0.5 + k) for k in range(modalities)]
    split = Split({m: centres[k][labels] + noise[k] for k, m in enumerate(NAMES[:modalities])}, labels)
    return Dataset("images", NAMES[:modalities], ("a", "b", "c"), split, split, split)


def setup(
    modalities: int = 2, epochs: int = 4, recipe: dict[str, Any] | None = None, **hyperparameters: Any
) -> tuple[AGM, TrainingContext]:
    dataset = images(modalities)
    torch.manual_seed(3)
    built = {m: encoders.build({"name": "cnn", "width": 2}, (1, 6, 6)) for m in dataset.modalities}
    method = AGM(built, 3, AGMHyperparameters(**hyperparameters), epochs)
    settings_of_run = Recipe(**{"batch_size": 8, "lr": 0.1, **(recipe or {})})
    return method, hand_driven_context(method, dataset, settings_of_run, seed=3)


def responses_by_hand(twin: AGM, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The official way: every subset anew, with whole batches of zeros."""
    names = list(inputs)
    f = {"+".join(names): twin.fusion([twin.encoders[m](inputs[m]) for m in names]).logits}
    twin.eval()
    for size in range(1, len(names)):
        for members in combinations(names, size):
            given = [twin.encoders[m](x if m in members else torch.zeros_like(x)) for m, x in inputs.items()]
            f["+".join(members)] = twin.fusion(given).logits
    twin.train()
    return shapley_contributions(f, names)


@pytest.mark.parametrize(
    ("options", "modalities"),
    [
        ({"clip_trigger": None}, 2),
        ({"clip_trigger": 0.05, "alpha": 2.0, "cap": None}, 2),
        ({"fusion": "gated", "cap": 0.1}, 3),
        ({"grad": "encoder", "fusion": "sum", "clip_trigger": 0.1}, 3),
    ],
)
def test_training_follows_the_official_formulas(options: dict[str, Any], modalities: int) -> None:
    method, context = setup(modalities, **options)
    twin, _ = setup(modalities, **options)
    hp = method.hyperparameters
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    running, clipped = [0.0] * modalities, 0
    head = twin.fusion.heads if hp.fusion == "sum" else [twin.fusion.head]
    for step, batch in enumerate(context.training_batches(torch.arange(24), False), start=1):
        method.training_step(batch, context)
        optimizer.zero_grad()
        phi = responses_by_hand(twin, batch.inputs)
        rows = [p.detach().softmax(1)[torch.arange(8), batch.labels].clamp_min(1e-8).log() for p in phi]
        scores = [-float(row.mean()) for row in rows]

        def ratios(s: list[float]) -> list[float]:
            count = len(s)
            return [math.exp(count / (count - 1) * (sum(s) / count - each)) for each in s]

        change = [tau - r for tau, r in zip(ratios(running), ratios(scores), strict=True)]
        kappa = [math.exp(hp.alpha * (d if hp.cap is None else min(d, hp.cap))) for d in change]
        running = [s * (step - 1) / step + each / step for s, each in zip(running, scores, strict=True)]
        if hp.grad == "encoder":
            statistics = {name: value.clone() for name, value in twin.named_buffers()}
            features = [encoder(batch.inputs[m]) for m, encoder in twin.encoders.items()]
            F.cross_entropy(twin.fusion(features).logits, batch.labels).backward()
            for name, value in twin.named_buffers():
                value.copy_(statistics[name])  # they have moved in the pass before
            for factor, encoder in zip(kappa, twin.encoders.values(), strict=True):
                for p in encoder.parameters():
                    p.grad *= factor
        else:
            parts = [k * p + (1 - k) * p.detach() for k, p in zip(kappa, phi, strict=True)]
            F.cross_entropy(torch.stack(parts).sum(0), batch.labels).backward()
        largest = max(float(layer.weight.grad.abs().max()) for layer in head)
        if hp.clip_trigger is not None and largest > hp.clip_trigger:
            nn.utils.clip_grad_norm_(twin.parameters(), hp.clip_trigger)
            clipped += 1
        optimizer.step()
        assert method.running_scores.tolist() == pytest.approx(running, abs=1e-4)
    assert bool(clipped) is (hp.clip_trigger not in (None, 1.0))
    for (name, found), (_, expected) in zip(method.state_dict().items(), twin.state_dict().items(), strict=True):
        if name not in ("_extra_state", "running_scores"):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("modalities", [2, 3])
def test_responses_add_up_to_the_logits_and_touch_no_statistics(modalities: int) -> None:
    method, _ = setup(modalities)
    twin, _ = setup(modalities)
    batch = images(modalities).train.gather(torch.arange(8))
    outputs = method(batch)
    torch.testing.assert_close(torch.stack(outputs.unimodal_logits).sum(0), outputs.logits, atol=1e-5, rtol=1e-5)
    for m, encoder in twin.encoders.items():
        encoder(batch.inputs[m])
    assert_same(method.encoders.state_dict(), twin.encoders.state_dict(), "encoders")
    assert all(module.training for module in method.modules())


def test_without_modulation_it_is_joint_training() -> None:
    for options, tolerance in (({"grad": "encoder"}, 0.0), ({}, 1e-5)):
        for modalities in (2, 3):
            agm = {"alpha": 0.0, "clip_trigger": None, **options}
            runs = [toy_training("agm", agm, modalities=modalities), toy_training("joint", modalities=modalities)]
            for run in runs:
                list(run.epochs())
            weights, expected = (run.method.state_dict() for run in runs)
            for name, value in expected.items():
                if name != "_extra_state":
                    torch.testing.assert_close(weights[name], value, atol=tolerance, rtol=10 * tolerance)


def test_a_blank_modality_responds_with_a_constant() -> None:
    for modalities in (2, 3):
        dataset = toy_dataset(modalities)
        method = toy_method("agm", dataset)
        batch = dataset.train.gather(torch.arange(6))
        batch.inputs["audio"] = torch.zeros_like(batch.inputs["audio"])
        phi = method(batch).unimodal_logits[0]
        nothing = [method.encoders[m](torch.zeros_like(x)) for m, x in batch.inputs.items()]
        torch.testing.assert_close(phi, method.fusion(nothing).logits / modalities, atol=1e-5, rtol=1e-4)


def test_gradients_outside_the_window_are_untouched_and_scores_go_on() -> None:
    method, context = setup(start_epoch=1.0, end_epoch=2.0, clip_trigger=None)
    assert list(method.window) == [1, 2]
    batch = images(2).train.gather(torch.arange(8))
    modulated = []
    for epoch in range(1, 5):
        move_to(context, method, epoch)
        outputs = method(batch)
        method.loss(outputs, batch, context)
        modulated.append(outputs.extra["factors"].tolist() != [1.0, 1.0])
        before = method.running_scores.clone()
        method.training_step(batch, context)
        assert not torch.equal(method.running_scores, before)
    assert modulated == [False, True, True, False]


def test_the_recipe_s_clipping_is_replaced_and_the_log_says_so() -> None:
    for trigger, said in ((1e6, True), (None, False)):
        lines: list[str] = []
        method, context = setup(clip_trigger=trigger, recipe={"gradient_clip": 1e-6})
        context._warn = lines.append
        batch = next(iter(context.training_batches(torch.arange(8), False)))
        method.training_step(batch, context)
        norm = float(nn.utils.get_total_norm([p.grad for p in method.parameters() if p.grad is not None]))
        assert (norm > 1e-3) is said
        assert bool(lines) is said
        assert all("agm clips gradients itself, in the place of train.gradient_clip: 1e-06" in line for line in lines)


def test_what_is_logged() -> None:
    method, context = setup()
    batch = next(iter(context.training_batches(torch.arange(8), False)))
    method.training_step(batch, context)
    found = context.logged()
    twin, beside = setup()
    outputs = twin(batch)
    next(iter(beside.training_batches(torch.arange(8), False)))
    twin.loss(outputs, batch, beside)
    ratios = discrepancy_ratios(outputs.extra["scores"]).tolist()
    assert [found["ratio_audio"], found["ratio_video"]] == pytest.approx(ratios)
    factors = outputs.extra["factors"].tolist()
    assert [found["coefficient_audio"], found["coefficient_video"]] == pytest.approx(factors)
    assert factors != [1.0, 1.0]
    assert set(found) == {"clipped", *(f"{name}_{m}" for name in ("ratio", "coefficient") for m in method.modalities)}
    assert found["ratio_audio"] * found["ratio_video"] == pytest.approx(1)


def test_inference_gives_the_fused_logits_and_the_responses() -> None:
    method, _ = setup(3)
    method.eval()
    batch = images(3).train.gather(torch.arange(5))
    found = method.predict(batch)
    expected = responses_by_hand(method, batch.inputs)
    method.eval()
    assert list(found) == ["multi", *NAMES]
    for m, phi in zip(NAMES, expected, strict=True):
        assert found[m].shape == phi.shape
    torch.testing.assert_close(sum(found[m] for m in NAMES), found["multi"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(method.predict(batch, NAMES)["multi"], found["multi"], atol=0, rtol=0)
    native, _ = setup(3, unimodal_source="native")
    own = native.eval().predict(batch)
    features = native.encode(batch)
    torch.testing.assert_close(own["audio"], native.fusion.native_logits(features)[0], atol=0, rtol=0)


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"fusion": "channel"}, "needs each on its own"),
        ({"fusion": "late"}, "late_train: joint"),
        ({"fusion": "etmc"}, "loss of its own"),
        ({"unimodal_source": "aux"}, "no auxiliary heads"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        AGM.check(AGMHyperparameters(**hyperparameters), ("a", "b"))
    with pytest.raises(MethodError, match="at least 2"):
        AGM.check(AGMHyperparameters(), ("a",))


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in ({"alpha": -0.1}, {"cap": -1.0}, {"clip_trigger": 0.0}, {"grad": "head"}, {"end_epoch": 1.5}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            AGMHyperparameters(**wrong)


def test_an_empty_window_is_said() -> None:
    lines: list[str] = []
    for options in ({}, {"start_epoch": 3.0, "end_epoch": 1.0}):
        method, context = setup(**options)
        context._warn = lines.append
        method.on_fit_start(context)
    assert len(lines) == 1
    assert "end_epoch comes before start_epoch" in lines[0]


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("agm")
