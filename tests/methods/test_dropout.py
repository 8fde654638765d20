"""Modality dropout: what is dropped how often, what stands for it, and which encoders rest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor

from methods.base import MULTI, MethodError
from methods.dropout import Dropout, DropoutHyperparameters, apply_keep, effective_rates, keep_mask, scale_factors
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("token", {"fill": "token", "rescale": "count", "unimodal_source": "zero"}, modalities=3),
    Variant("batch", {"granularity": "batch", "rates": {"audio": 0.8}, "rescale": "inverted"}),
    Variant("batch-token", {"granularity": "batch", "fill": "token", "rate": 0.6}, path="batch"),
    Variant("masked", {"fusion": "attention"}, epochs=2),
    Variant("late-start", {"start_epoch": 1.0, "end_epoch": 2.0, "rescale": "inverted"}, path="defaults"),
]
HALF = torch.tensor([0.5, 0.5])

# Equations -----------------------------------------------------------------------------------------------------


def test_what_is_kept_by_hand() -> None:
    uniform = torch.tensor([[0.4, 0.6], [0.5, 0.1], [0.1, 0.4], [0.2, 0.2]])
    assert keep_mask(uniform, HALF).tolist() == [[False, True], [True, False], [False, True], [True, False]]
    # All would go: 0.3 / 0.9 is less than 0.2 / 0.5.
    assert keep_mask(torch.tensor([[0.3, 0.2]]), torch.tensor([0.9, 0.5])).tolist() == [[False, True]]
    assert keep_mask(torch.zeros(1, 2), torch.zeros(2)).tolist() == [[True, True]]


def test_rates_are_those_that_are_seen() -> None:
    assert effective_rates(HALF).tolist() == [0.375, 0.375]
    assert effective_rates(torch.tensor([0.8, 0.0])).tolist() == pytest.approx([0.8, 0.0])
    assert effective_rates(torch.ones(4)).tolist() == [0.75] * 4
    uniform = torch.rand(10_000, 3, generator=torch.Generator().manual_seed(1))
    for rates in (torch.tensor([0.9, 0.5, 0.7]), torch.ones(3)):
        kept = keep_mask(uniform, rates)
        assert bool(kept.any(1).all())
        torch.testing.assert_close(1 - kept.float().mean(0), effective_rates(rates), atol=0.015, rtol=0)
    assert bool((keep_mask(uniform, torch.ones(3)).sum(1) == 1).all())


def test_scales_by_hand() -> None:
    keep = torch.tensor([[True, True], [True, False]])
    assert scale_factors(keep, HALF).tolist() == [[1, 1], [1, 1]]
    assert scale_factors(keep, HALF, "inverted").flatten().tolist() == pytest.approx([1.6] * 4)
    assert scale_factors(keep, HALF, "count").tolist() == [[1, 1], [2, 2]]
    with pytest.raises(ValueError, match="no rescale called 'mean'"):
        scale_factors(keep, HALF, "mean")


def test_the_inverted_scale_keeps_the_mean_of_a_feature() -> None:
    uniform, rates = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(2)), torch.tensor([0.7, 0.4])
    keep = keep_mask(uniform, rates)
    kept = apply_keep([torch.ones(20_000, 1)] * 2, keep, scale=scale_factors(keep, rates, "inverted"))
    assert [x.mean().item() for x in kept] == pytest.approx([1, 1], abs=0.02)


def test_nothing_of_a_dropped_feature_gets_through() -> None:
    vector = torch.tensor([[1.0, 2.0], [math.nan, 4.0]], requires_grad=True)
    tokens = torch.ones(2, 3, 1)
    keep = torch.tensor([[True, False], [False, True]])
    fill = [torch.tensor([5.0, 6.0]), torch.tensor([7.0])]
    first, second = apply_keep([vector, tokens], keep, fill, torch.tensor([[2.0, 9.0], [9.0, 3.0]]))
    assert first.tolist() == [[2, 4], [5, 6]]
    assert second.flatten(1).tolist() == [[7, 7, 7], [3, 3, 3]]
    (gradient,) = torch.autograd.grad(first.sum(), vector)
    assert gradient.tolist() == [[2, 2], [0, 0]]
    assert apply_keep([vector], keep[:, :1])[0][1].tolist() == [0, 0]


# Training ------------------------------------------------------------------------------------------------------


def test_without_dropping_it_is_joint_training() -> None:
    joint = list(toy_training("joint", {"fusion": "gated"}).epochs())
    for keys in ({"rate": 0.0}, {"rate": 0.0, "granularity": "batch"}, {"start_epoch": 4.0, "rate": 1.0}):
        dropout = list(toy_training("dropout", {"fusion": "gated", **keys}).epochs())
        assert [record.loss for record in dropout] == [record.loss for record in joint]
        assert [record.metrics for record in dropout] == [record.metrics for record in joint]


def test_a_modality_that_every_batch_loses_is_never_touched() -> None:
    training = toy_training("dropout", {"granularity": "batch", "rates": {"audio": 1.0}}, weight_decay=0.1)
    begun = [p.clone() for p in training.method.encoders["audio"].parameters()]
    *_, last = training.epochs()
    assert all(torch.equal(a, b) for a, b in zip(begun, training.method.encoders["audio"].parameters(), strict=True))
    slots = training.state_dict()["groups"]["optimizers"]["training"]
    assert not [name for name in slots if name.startswith("encoders.audio.")]
    assert last.diagnostics["dropped_audio"] == 1
    assert last.diagnostics["dropped_video"] == 0
    assert last.forward_passes == 0.5 * last.samples


def gradients(method: Dropout, rows: Tensor, keep: Tensor | None) -> list[Tensor]:
    """Compute the gradients of the audio encoder of the summed loss; keep: in place of what is drawn."""
    dataset = toy_dataset()
    batch = dataset.train.gather(rows)
    features = method.encode(batch)
    shown = features if keep is None else apply_keep(features, keep)
    loss = torch.nn.functional.cross_entropy(method.fusion.fuse(shown).logits, batch.labels, reduction="sum")
    return list(torch.autograd.grad(loss, list(method.encoders["audio"].parameters())))


def test_a_dropped_sample_adds_nothing_to_its_encoders_gradient() -> None:
    method = toy_method("dropout", toy_dataset())
    assert isinstance(method, Dropout)
    keep = torch.ones(6, 2, dtype=torch.bool)
    keep[3:, 0] = False
    found, without = gradients(method, torch.arange(6), keep), gradients(method, torch.arange(3), None)
    torch.testing.assert_close(found, without)


def test_settings_share_their_random_numbers() -> None:
    """Two rates of one run drop nested sets of samples."""
    dataset, dropped = toy_dataset(), []
    for rate in (0.3, 0.6):
        method = toy_method("dropout", dataset, {"rates": {"audio": rate}, "fill": "token"})
        context = hand_driven_context(method, dataset, Recipe(batch_size=16))
        batch = next(context.training_batches(torch.arange(45), drop_last=False))
        features = method.training_outputs(batch, context).features
        dropped.append((features[0] == method.tokens[0]).all(1))  # type: ignore[index,union-attr]
    assert 0 < dropped[0].sum() < dropped[1].sum()
    assert bool((dropped[1] | ~dropped[0]).all())


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_only_the_epochs_of_the_window_drop(granularity: str) -> None:
    """Both ends of the window are epochs with dropout, counted from 0."""
    dataset = toy_dataset()
    own = {"granularity": granularity, "rates": {"video": 1.0}, "start_epoch": 1.0, "end_epoch": 2.0}
    method = toy_method("dropout", dataset, own)
    told = []
    for epoch in range(1, 5):
        context = hand_driven_context(method, dataset, Recipe(batch_size=16), epoch=epoch)
        batch = next(context.training_batches(torch.arange(45), drop_last=False))
        features = method.training_outputs(batch, context).features
        assert features[0].any()
        told.append((bool(features[1].any()), context.logged()))
    dropped = {"dropped_audio": 0.0, "dropped_video": 1.0}
    assert told == [(True, {}), (False, dropped), (False, dropped), (True, {})]


def test_passes_are_those_of_the_encoders_that_run() -> None:
    """Rates of 1 and 0 are half a pass less, in two of eight epochs; each of 0.5 is dropped in 3/8 of the steps."""

    def passes(**options: Any) -> float:
        (phase,) = Dropout.phases_of(DropoutHyperparameters(**options), ("audio", "video"), 8)
        assert phase.epochs == 8
        return phase.passes

    assert passes(granularity="batch", rates={"audio": 1.0}, start_epoch=1.0, end_epoch=2.0) == 1 - 0.5 * 2 / 8
    assert passes(granularity="batch", rates={"audio": 0.5, "video": 0.5}) == 1 - 3 / 8
    assert passes(rates={"audio": 1.0}) == 1


@pytest.mark.parametrize("granularity", ["sample", "batch"])
@pytest.mark.parametrize(
    ("rescale", "rate", "factor"),
    [("none", 0.5, 1.0), ("inverted", 0.5, 1.6), ("inverted", 1.0, 2.0), ("count", 1.0, 2.0)],
)
def test_what_is_kept_in_training_is_scaled(granularity: str, rescale: str, rate: float, factor: float) -> None:
    """Effective rates of two modalities: 0.5 - 0.25 / 2 and 1 - 1 / 2."""
    dataset = toy_dataset()
    own = {"granularity": granularity, "rescale": rescale, "rates": dict.fromkeys(dataset.modalities, rate)}
    method = toy_method("dropout", dataset, own)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    batch = next(context.training_batches(torch.arange(45), drop_last=False))
    assert isinstance(method, Dropout)
    dropping = method.kept_features if granularity == "sample" else method.kept_modalities
    found, keep = dropping(batch, context)
    rows = keep.expand(16, 2)
    assert rows.any(1).all()
    assert not rows.all()
    for m, (each, plain) in enumerate(zip(found, method.encode(batch), strict=True)):
        torch.testing.assert_close(each, factor * plain * rows[:, m : m + 1])


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_a_sample_that_lacks_a_modality_has_the_token_and_no_scale_of_dropout_before_it_begins(
    granularity: str,
) -> None:
    dataset = toy_dataset()
    own = {"granularity": granularity, "fill": "token", "rescale": "inverted", "rate": 0.5, "start_epoch": 2.0}
    method = toy_method("dropout", dataset, own)
    assert isinstance(method, Dropout)
    assert method.fills is not None
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    batch = next(context.training_batches(torch.arange(45), drop_last=False))
    there = torch.arange(16) % 2 == 0
    audio, video = method.training_outputs(replace(batch, present={"video": there}), context).features
    plain = method.encode(batch)
    torch.testing.assert_close(audio, plain[0])
    torch.testing.assert_close(video, torch.where(there.unsqueeze(1), plain[1], method.fills[1]))


@pytest.mark.parametrize("granularity", ["sample", "batch"])
def test_a_fusion_of_tokens_reads_nothing_of_a_modality_that_a_sample_lacks(granularity: str) -> None:
    dataset = toy_dataset()
    method = toy_method("dropout", dataset, {"fusion": "attention", "granularity": granularity, "rate": 0.0})
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    batch = next(context.training_batches(torch.arange(45), drop_last=False))
    there = torch.arange(16) % 2 == 0
    found = method.training_outputs(replace(batch, present={"video": there}), context).logits
    alone, both = method.predict(batch, ["audio"])[MULTI], method.predict(batch)[MULTI]
    torch.testing.assert_close(found, torch.where(there.unsqueeze(1), both, alone))


# Inference -----------------------------------------------------------------------------------------------------


def test_at_inference_an_absent_modality_is_what_it_was_in_training() -> None:
    dataset = toy_dataset()
    batch = dataset.test.gather(torch.arange(3))
    method = toy_method("dropout", dataset, {"fill": "token", "rescale": "count", "fusion": "gated"}).eval()
    assert isinstance(method, Dropout)
    audio, video = method.encode(batch)
    assert method.fills is not None
    with torch.no_grad():
        method.fills[1].fill_(3)
    alone = method.fusion.fuse([2 * audio, torch.full_like(video, 3)]).logits
    found = method.predict(batch, present=["audio"])
    torch.testing.assert_close(found[MULTI], alone)
    torch.testing.assert_close(found["audio"], alone)
    whole = method.predict(batch)
    torch.testing.assert_close(whole[MULTI], method.fusion.fuse([audio, video]).logits)
    torch.testing.assert_close(whole["audio"], alone)


@pytest.mark.parametrize("keys", [{}, {"granularity": "batch"}, {"tokens": "all"}], ids=str)
def test_a_fusion_of_tokens_never_sees_what_is_dropped(keys: dict[str, Any]) -> None:
    """Its logits are those of the other modalities alone, in training as at inference."""
    dataset = toy_dataset()
    own = {"fusion": "attention", "rates": {"video": 1.0}, **keys}
    method = toy_method("dropout", dataset, own)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    batch = next(context.training_batches(torch.arange(45), drop_last=False))
    trained = method.training_outputs(batch, context).logits
    torch.testing.assert_close(trained, method.predict(batch, present=["audio"])[MULTI])
    torch.testing.assert_close(trained, method.predict(batch)["audio"])


# Checks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"rates": {"sound": 0.5}}, "rates: no modality called 'sound'"),
        ({"rates": {"audio": 0.5}, "rate": 0.4}, "keep one of them"),
        ({"fusion": "attention", "tokens": "all", "granularity": "batch"}, "use tokens: one, or granularity: sample"),
        ({"fusion": "attention", "tokens": "all", "fill": "token"}, "use tokens: one, or granularity: sample"),
        ({"fusion": "channel"}, "fusion channel runs the encoders of all modalities together"),
        ({"unimodal_source": "aux"}, "dropout trains no auxiliary heads"),
    ],
)
def test_what_does_not_fit_is_refused(hyperparameters: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        toy_method("dropout", toy_dataset(), hyperparameters)


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"start_epoch": 3.0, "end_epoch": 1.0}, "nothing is dropped"),
        ({"fusion": "etmc"}, "use fill: token"),
        ({"fusion": "late"}, "no modality learns for an absent one"),
    ],
)
def test_what_makes_little_sense_is_warned_of(hyperparameters: dict[str, Any], message: str) -> None:
    dataset, said = toy_dataset(), list[str]()
    method = toy_method("dropout", dataset, hyperparameters)
    method.on_fit_start(hand_driven_context(method, dataset, Recipe(batch_size=16), warn=said.append))
    (line,) = said
    assert message in line


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("dropout")
