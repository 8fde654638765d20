"""SMV: contributions and copies by hand, who is shown again, and what of a copy reaches which encoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context, move_to
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch.nn import functional as F

from methods.base import MethodError
from methods.smv import SMV, modality_level_probability, resample_counts, resample_index, shapley_contributions
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", epochs=3, epochs_to_learn=6),
    Variant("modality", {"level": "modality", "alpha": 3.0, "part_ratio": 0.5}, modalities=3),
    Variant("rarely", {"level": "modality", "replacement": False, "value_every": 2.0, "func": "tanh"}, path="modality"),
    Variant("few-copies", {"max_copies": 1, "value_every": 2.0}, path="defaults"),
]
CASES = {
    (1, 1, 1): (1, 1), (1, 1, 0): (1.5, 0.5), (1, 0, 1): (0.5, 1.5), (1, 0, 0): (1, 1),
    (0, 1, 1): (0, 0), (0, 1, 0): (0.5, -0.5), (0, 0, 1): (-0.5, 0.5), (0, 0, 0): (0, 0),
}  # fmt: skip
"""Both together, the first alone, the second alone right -> contributions."""

# Equations -----------------------------------------------------------------------------------------------------


def test_contributions_of_two_modalities_are_those_of_the_paper() -> None:
    both, first, second = torch.tensor(list(CASES)).T.bool()
    found = shapley_contributions(torch.stack([torch.ones(8).bool(), first, second, both]), 2)
    assert found.T.tolist() == [list(case) for case in CASES.values()]
    with pytest.raises(ValueError, match="2 modalities have 4 subsets, got 3 rows"):
        shapley_contributions(torch.ones(3, 1).bool(), 2)


@given(st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_contributions_share_out_the_value_of_all_and_follow_their_modality(seed: int) -> None:
    correct = torch.rand(8, 30, generator=torch.Generator().manual_seed(seed)) < 0.5
    found = shapley_contributions(correct, 3)
    torch.testing.assert_close(found.sum(0), 3.0 * correct[7])
    exchanged = shapley_contributions(correct[[0, 2, 1, 3, 4, 6, 5, 7]], 3)  # the first two bits
    torch.testing.assert_close(exchanged, found[[1, 0, 2]])


def test_a_perfect_or_a_merely_joint_model_asks_for_no_copy() -> None:
    correct = torch.ones(8, 2).bool()
    correct[1:7, 1] = False
    found = shapley_contributions(correct, 3)
    torch.testing.assert_close(found, torch.ones(3, 2))
    assert resample_counts(found).sum() == 0


def test_copies_by_hand() -> None:
    contributions = torch.tensor([[1.5, 1.0, 0.999, 0.4], [0.41, -0.09, -0.1, -0.5]])
    assert resample_counts(contributions).tolist() == [[0, 0, 1, 2], [1, 2, 3, 3]]
    index, kept = resample_index(torch.tensor([[0, 2, 0], [1, 1, 0]]))
    assert index.tolist() == [0, 1, 2, 0, 1, 1, 1]
    assert kept.tolist() == [-1, -1, -1, 1, 0, 0, 1]


def test_shares_of_copies_by_hand() -> None:
    means = torch.tensor([0.9, 0.3])
    assert modality_level_probability(means).tolist() == pytest.approx([0, 0.4])
    assert modality_level_probability(means, 2.0, "tanh").tolist() == pytest.approx([0, 0.664037])
    assert modality_level_probability(means, 2.0, "power").tolist() == pytest.approx([0, 2 * 0.4**1.5])
    assert modality_level_probability(means, 9.0).tolist() == [0, 1]
    three = modality_level_probability(torch.tensor([0.9, 0.6, 0.3]))
    assert three.tolist() == pytest.approx([0, 0.1, 0.3])
    with pytest.raises(ValueError, match="no func called 'cubic'"):
        modality_level_probability(means, 1.0, "cubic")


# Training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [{"warmup_epochs": 4.0}, {"level": "modality", "alpha": 0.0}], ids=str)
def test_without_copies_it_is_joint_training(keys: dict[str, object]) -> None:
    joint = [r.loss for r in toy_training("joint").epochs()]
    assert [r.loss for r in toy_training("smv", keys).epochs()] == joint


def test_the_weak_modality_is_shown_more_often() -> None:
    for level in ("sample", "modality"):
        keys = {"level": level, "warmup_epochs": 2.0, "part_ratio": 1.0}
        *_, last = toy_training("smv", keys, epochs=3).epochs()
        strong, weak = (last.diagnostics[f"copies_{m}"] for m in ("audio", "video"))
        assert weak > strong
        assert last.samples == pytest.approx(45 * (3 + strong + weak))
        if level == "modality":
            assert strong == 0


def test_an_epoch_shows_every_sample_once_and_the_copies_that_were_counted() -> None:
    dataset = toy_dataset()
    method = toy_method("smv", dataset, {"warmup_epochs": 0.0, "max_copies": 2})
    assert isinstance(method, SMV)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    method.contributions = torch.ones(2, 45)
    method.contributions[1, 3] = -1
    index, kept = method.sampler(context)
    assert sorted(index[kept == -1].tolist()) == list(range(45))
    assert index[kept == 1].tolist() == [3, 3]
    assert not (kept == 0).any()


def driven(**hyperparameters: Any) -> tuple[SMV, TrainingContext]:
    method = toy_method("smv", toy_dataset(), hyperparameters)
    assert isinstance(method, SMV)
    return method, hand_driven_context(method, toy_dataset(), Recipe(batch_size=16))


@pytest.mark.parametrize("fusion", ["concat", "attention"])
def test_contributions_are_those_of_the_predictions_of_each_set(fusion: str) -> None:
    method, context = driven(fusion=fusion)
    batch = toy_dataset().train.gather(torch.arange(45))
    with torch.no_grad():
        told = [method.predict(batch, present)["multi"] for present in ([], ["audio"], ["video"], ["audio", "video"])]
    correct = torch.stack([logits.argmax(1) == batch.labels for logits in told])
    assert torch.equal(method.measured_contributions(context), shapley_contributions(correct, 2))
    assert context.scored == 45


def test_of_a_modality_the_contributions_to_a_drawn_part_are_measured() -> None:
    """Another part in another epoch, and one sample at least."""
    whole, context = driven()
    everything = whole.measured_contributions(context)
    parts = []
    for epoch, ratio, count in ((1, 0.4, 18), (2, 0.4, 18), (1, 0.01, 1)):
        method, context = driven(level="modality", part_ratio=ratio)
        context.epoch = epoch
        drawn = torch.randperm(45, generator=context.generator("smv part", epoch))[:count]
        parts.append(method.measured_contributions(context))
        assert torch.equal(parts[-1], everything[:, drawn])
        assert context.scored == count
    assert not torch.equal(parts[0], parts[1])


@pytest.mark.parametrize("replacement", [True, False])
def test_copies_of_a_modality_are_drawn_from_all_samples(replacement: bool) -> None:
    """Mean contributions 0.9 and 0.3: of the second 0.4 of the samples, and 0.8 with alpha 2."""
    method, context = driven(level="modality", replacement=replacement, alpha=2.0)
    method.contributions = torch.tensor([[0.8, 1.0], [0.1, 0.5]])
    strong, weak = method.drawn_copies(context)
    assert (len(strong), len(weak)) == (0, 36)
    assert set(weak.tolist()) <= set(range(45))
    assert (len(weak.unique()) == 36) is not replacement
    index, kept = method.sampler(context)
    assert sorted(index[kept == 1].tolist()) == sorted(weak.tolist())
    assert kept.tolist() != sorted(kept.tolist())
    assert method.diagnostics() == pytest.approx(
        {"contribution_audio": 0.9, "contribution_video": 0.3, "copies_audio": 0.0, "copies_video": 0.8}
    )


def test_without_copies_the_order_is_that_of_joint_training() -> None:
    method, context = driven()
    plain = method.sampler(context)
    method.contributions = torch.ones(2, 45)
    again = method.sampler(context)
    assert isinstance(plain, torch.Tensor)
    assert isinstance(again, torch.Tensor)
    assert torch.equal(plain, again)
    assert method.diagnostics()["copies_audio"] == 0


def test_of_a_copy_only_the_kept_encoder_learns() -> None:
    dataset = toy_dataset()
    method = toy_method("smv", dataset)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    move_to(context, method, 1)
    shown = torch.arange(6), torch.tensor([0] * 6)
    batch = next(context.training_batches(shown, drop_last=False))
    loss = F.cross_entropy(method.training_outputs(batch, context).logits, batch.labels)
    own, other = (list(method.encoders[m].parameters()) for m in ("audio", "video"))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(loss, own, retain_graph=True))
    assert all(g.abs().sum() == 0 for g in torch.autograd.grad(loss, other))


def test_contributions_are_measured_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = list[int]()

    def note(self: SMV, context: object) -> torch.Tensor:
        measured.append(context.epoch)  # type: ignore[attr-defined]
        return torch.ones(2, 45)

    monkeypatch.setattr(SMV, "measured_contributions", note)
    list(toy_training("smv", {"warmup_epochs": 1.0, "value_every": 2.0}, epochs=6).epochs())
    assert measured == [2, 4, 6]


# Checks --------------------------------------------------------------------------------------------------------


def test_features_that_know_of_each_other_are_refused() -> None:
    with pytest.raises(MethodError, match="fusion channel runs the encoders of all modalities together"):
        toy_method("smv", toy_dataset(), {"fusion": "channel"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "late"}, "late_train: joint"),
        ({"fusion": "etmc"}, "loss of its own"),
        ({"unimodal_source": "aux"}, "no auxiliary heads"),
    ],
)
def test_heads_that_nothing_would_train_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        toy_method("smv", toy_dataset(), options)


def test_a_warm_up_without_end_is_warned_of() -> None:
    dataset, said = toy_dataset(), list[str]()
    method = toy_method("smv", dataset, {"warmup_epochs": 4.0})
    method.on_fit_start(hand_driven_context(method, dataset, Recipe(batch_size=16), warn=said.append))
    assert said == ["smv: the warm-up lasts as long as the training, so no sample is shown again"]


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("smv")
