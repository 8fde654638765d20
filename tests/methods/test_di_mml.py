"""DI-MML: which dimensions transfer, who learns from whom, and what the phase after the budget trains."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context, move_to
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor

from methods.base import MethodError
from methods.base.phase import selectable_epochs, total_epochs
from methods.di_mml import (
    DIMML,
    DIMMLHyperparameters,
    certainty_weights,
    dimension_scores,
    duc_loss,
    fuse_logits,
    transfer_dims,
)
from models import encoders
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="interacting", epochs=3, epochs_to_learn=14),
    Variant("apart", {"use_duc": False, "use_align": False, "use_certainty": False}, path="interacting"),
    Variant("three", {"warmup_epochs": 1, "refresh_every": 1, "tau": 1.0}, modalities=3),
]

# Equations -----------------------------------------------------------------------------------------------------


def test_a_value_between_two_centres_is_the_lower_class() -> None:
    values = torch.tensor([[-1.0], [1.0], [2.0]])  # centres 0 and 2, and 1 lies between
    assert dimension_scores(values, torch.tensor([0, 0, 1]), 2).tolist() == [1.0]
    assert dimension_scores(values, torch.tensor([1, 1, 0]), 2).tolist() == pytest.approx([2 / 3])


def test_dimension_scores_by_hand() -> None:
    features = torch.tensor([[0.0, 1.0, 5.0], [2.0, 1.0, 5.0], [4.0, 1.0, 6.0], [2.4, 1.0, 9.0]])
    labels = torch.tensor([0, 0, 2, 2])
    # Centres 1 and 3.2; 1 and 1 (a tie: the lower class); 5 and 7.5. Class 1 has no sample and is never the nearest.
    assert dimension_scores(features, labels, 3).tolist() == [1.0, 0.5, 0.75]
    assert dimension_scores(features, labels, 4).dtype == torch.float32
    assert dimension_scores(features.bfloat16(), labels, 3).dtype == torch.float32
    halfway = torch.tensor([[0.0], [2.0], [1.0], [3.0]])
    assert dimension_scores(halfway, torch.tensor([1, 1, 0, 0]), 2).tolist() == [0.5]


def test_what_transfers_is_effective_in_the_source_alone() -> None:
    source, receiver = torch.tensor([0.9, 0.8, 0.1, 0.2]), torch.tensor([0.9, 0.2, 0.8, 0.1])
    assert transfer_dims(source, receiver).tolist() == [False, True, False, False]
    assert transfer_dims(receiver, source).tolist() == [False, False, True, False]
    equal = torch.full((3,), 0.7)
    assert not transfer_dims(equal, equal).any()
    assert transfer_dims(torch.tensor([0.5, 0.5 + 1e-6]), torch.zeros(2)).tolist() == [False, False]


scores = st.lists(st.tuples(*[st.integers(0, 8)] * 2), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(scores)
def test_both_directions_are_disjoint(rows: Any) -> None:
    one, other = torch.tensor(rows, dtype=torch.float32).T / 8
    assert not (transfer_dims(one, other) & transfer_dims(other, one)).any()
    assert not transfer_dims(one, one).any()


def test_the_contrastive_loss_by_hand() -> None:
    dst = torch.tensor([[1.0, 7.0], [2.0, -7.0]], requires_grad=True)
    src = torch.tensor([[3.0, 5.0], [1.0, 5.0], [0.0, 5.0]], requires_grad=True)
    dims = torch.tensor([True, False])
    # Row 0 is the pair of source row 1, row 1 of row 2; similarities over tau: (1.5, .5, 0) and (3, 1, 0).
    loss = duc_loss(dst, src, dims, tau=2.0, offset=1)
    rows = [math.log(sum(map(math.exp, row))) - own for row, own in (((1.5, 0.5, 0.0), 0.5), ((3.0, 1.0, 0.0), 0.0))]
    assert loss.item() == pytest.approx(sum(rows) / 2)
    loss.backward()
    assert src.grad is None
    assert dst.grad is not None
    assert dst.grad[:, 0].abs().min() > 0
    assert dst.grad[:, 1].abs().max() == 0


def test_the_contrastive_loss_at_its_borders() -> None:
    rows, every = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.ones(3, dtype=torch.bool)
    assert duc_loss(rows[:1], rows[1:2], every, 1.0).item() == 0
    assert duc_loss(rows, rows[:1].expand(4, 3), every, 1.0).item() == pytest.approx(math.log(4))
    assert duc_loss(1e4 * rows, 1e4 * rows, every, 0.1).isfinite()
    free = rows.clone().requires_grad_()
    nothing = duc_loss(free, rows, ~every, 1.0)
    nothing.backward()
    assert nothing.item() == 0
    assert torch.equal(free.grad, torch.zeros(4, 3))
    for tau in (0.0, -1.0):
        with pytest.raises(ValueError, match="tau must be positive"):
            duc_loss(rows, rows, every, tau)
        with pytest.raises(ValueError, match="tau must be positive"):
            certainty_weights([rows], tau)


def test_votes_weigh_by_certainty() -> None:
    sure, unsure = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.zeros(2, 2)
    weights = certainty_weights([sure, unsure], 0.5)
    lead = 1 / (1 + math.exp(-2.0)) - 0.5
    assert weights[:, 0].tolist() == pytest.approx([1 / (1 + math.exp(-2 * lead)), 1 / (1 + math.exp(2 * lead))])
    assert weights[:, 1].tolist() == [0.5, 0.5]
    torch.testing.assert_close(weights.sum(0), torch.ones(2))
    assert certainty_weights([sure, unsure], 1e-3)[0, 0] == 1
    torch.testing.assert_close(certainty_weights([sure, unsure], 1e6), torch.full((2, 2), 0.5))
    assert fuse_logits([sure, unsure], weights)[0].tolist() == pytest.approx([2 * weights[0, 0].item(), 0.0])


# Method --------------------------------------------------------------------------------------------------------


def driven(epoch: int = 1, modalities: int = 2, **hyperparameters: Any) -> tuple[DIMML, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("di_mml", dataset, hyperparameters)
    assert isinstance(method, DIMML)
    return method, hand_driven_context(method, dataset, Recipe(lr=0.05, batch_size=16), epoch=epoch)


def encoder_gradients(method: DIMML, context: TrainingContext, changed: str | None = None) -> dict[str, Tensor]:
    """Give the gradients of each encoder, flat, with the inputs of one modality changed."""
    batch = next(context.training_batches(torch.arange(16), drop_last=False))
    if changed is not None:
        batch.inputs[changed] = batch.inputs[changed] + 1
    method.zero_grad()
    method.loss(method(batch), batch, context).backward()
    return {m: torch.cat([p.grad.flatten() for p in e.parameters()]) for m, e in method.encoders.items()}  # type: ignore[union-attr]


def test_encoders_learn_apart_but_for_what_transfers() -> None:
    method, context = driven(epoch=2)
    before = encoder_gradients(method, context)
    after = encoder_gradients(method, context, "video")
    assert torch.equal(before["audio"], after["audio"])
    method.transferred[1, 0] = True  # audio learns from video, and nothing flows back
    taught = encoder_gradients(method, context)
    assert torch.equal(taught["video"], before["video"])
    assert not torch.equal(taught["audio"], before["audio"])
    assert not torch.equal(encoder_gradients(method, context, "video")["audio"], taught["audio"])


def test_without_interaction_the_loss_is_that_of_the_modalities() -> None:
    method, context = driven(epoch=2, use_duc=False, align_weight=0.0)
    method.transferred.fill_(True)
    batch = next(context.training_batches(torch.arange(16), drop_last=False))
    outputs = method(batch)
    own = [torch.nn.functional.cross_entropy(x, batch.labels) for x in outputs.unimodal_logits]
    torch.testing.assert_close(method.loss(outputs, batch, context), torch.stack(own).sum())
    assert not method.interacting(context)


def test_pairs_of_three_count_half() -> None:
    method, context = driven(epoch=2, modalities=3, align_weight=0.0)
    batch = next(context.training_batches(torch.arange(16), drop_last=False))
    outputs = method(batch)
    alone = method.loss(outputs, batch, context)
    method.transferred[0, 2] = True
    dims, (first, _, third) = method.transferred[0, 2], outputs.features
    torch.testing.assert_close(method.loss(outputs, batch, context), alone + duc_loss(third, first, dims, 10.0) / 2)


@pytest.mark.parametrize(("refresh", "scored"), [(0, [3]), (2, [3, 5])])
def test_when_dimensions_are_scored(refresh: int, scored: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    method, context = driven(warmup_epochs=2, refresh_every=refresh)
    epochs = []
    none = [torch.zeros(8), torch.zeros(8)]
    monkeypatch.setattr(DIMML, "scores", lambda self, context: epochs.append(context.epoch) or none)
    for epoch in range(1, 6):
        context.epoch = epoch
        method.on_epoch_start(context)
    assert epochs == scored


def test_dimensions_are_scored_over_the_training_samples() -> None:
    method, context = driven(epoch=2)
    method.on_epoch_start(context)
    assert context.scored == len(toy_dataset().train)
    batch = toy_dataset().train.gather(torch.arange(45))
    with torch.no_grad():
        audio, video = (dimension_scores(f, batch.labels, 4) for f in method.encode(batch))
    assert torch.equal(method.transferred[0, 1], transfer_dims(audio, video))
    assert torch.equal(method.transferred[1, 0], transfer_dims(video, audio))
    assert not method.transferred[0, 0].any()
    assert method.transferred.any()


def test_after_the_budget_the_fusion_classifier_alone_learns() -> None:
    training = toy_training("di_mml", epochs=3, samples=48)
    assert isinstance(training.method, DIMML)
    states, records = [], []
    for record in training.epochs():
        states.append(copy.deepcopy(training.method.state_dict()))
        records.append(record)
    assert [record.phase for record in records] == ["modalities"] * 3 + ["fusion"]
    assert [record.selectable for record in records] == [None, None, None, 1]
    assert training.result().selected_epoch == 4
    changed = {name for name, value in states[2].items() if not torch.equal(value, states[3][name])}
    assert changed == {"fusion_head.weight", "fusion_head.bias", "fused"}
    # Three epochs, one scoring pass, and the epoch after them.
    assert [record.forward_passes for record in records] == [48, 144, 192, 240]


def test_phases_and_what_they_count() -> None:
    phases = DIMML.phases_of(DIMMLHyperparameters(), ("a", "b"), 150)
    assert (total_epochs(phases), selectable_epochs(phases)) == (170, 20)
    assert [phase.budget for phase in phases] == [True, False]
    assert toy_method("di_mml", toy_dataset(), epochs=150).warmup == 20


def test_who_votes() -> None:
    method, context = driven(tau_fuse=0.5)
    batch = toy_dataset().validation.gather(torch.arange(5))
    predicted = method.predict(batch)
    own = [predicted["audio"], predicted["video"]]
    torch.testing.assert_close(predicted["multi"], fuse_logits(own, certainty_weights(own, 0.5)))
    torch.testing.assert_close(method.predict(batch, ["video"])["multi"], predicted["video"])
    move_to(context, method, 5)
    method.on_phase_start(context)
    features = method.present_features(batch, ["video"])
    assert not features[0].any()
    voting = [predicted["video"], method.fusion_head(torch.cat(features, 1))]
    expected = fuse_logits(voting, certainty_weights(voting, 0.5))
    torch.testing.assert_close(method.predict(batch, ["video"])["multi"], expected)
    mean, _ = driven(use_certainty=False)
    logits = mean.predict(batch)
    torch.testing.assert_close(logits["multi"], (logits["audio"] + logits["video"]) / 2)


def test_what_is_not_exported_and_what_is_refused() -> None:
    names = list(driven()[0].inference_state())
    assert not [name for name in names if name.startswith(("shared_head", "transferred"))]
    with pytest.raises(MethodError, match="di_mml is defined for two modalities, the dataset gives 3"):
        DIMML.check(DIMMLHyperparameters(allow_multi=False), ("a", "b", "c"))
    build = encoders.build
    unequal = {m: build(encoders.resolve({"name": "mlp", "width": w}), (3,)) for m, w in (("a", 4), ("b", 6))}
    with pytest.raises(MethodError, match="all encoders need one width; they have a 4, b 6"):
        DIMML(unequal, 2, DIMMLHyperparameters(), 10)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("di_mml")
