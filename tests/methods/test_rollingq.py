"""RollingQ: rotations and anchors by hand, when the query is turned, and where to."""

from __future__ import annotations

import math
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

from data.base import Batch
from methods.base import MethodError, evaluating
from methods.rollingq import (
    RollingQ,
    RollingQHyperparameters,
    anchor_query,
    anchor_weights,
    apply_rotation,
    attention_cosines,
    attention_imbalance_rate,
    rotated_mean_query,
    rotation_matrix,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", {"beta": 0.0, "fusion_dropout": 0.0}, epochs_to_learn=14),
    Variant("heads-of-three", {"beta": 0.0, "fusion_dropout": 0.0, "heads": 2, "tokens": "one", "max_rotations": 2,
                               "air_source": "train_pass", "unimodal_source": "native"}, modalities=3,
            epochs_to_learn=14),
]  # fmt: skip
METHODS = pytest.mark.parametrize("method", ["minimal", "svd"])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Equations -----------------------------------------------------------------------------------------------------


def test_cosines_by_hand() -> None:
    query = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    near = torch.tensor([[[2.0, 1.0], [2.0, -1.0]], [[3.0, 4.0], [3.0, 4.0]]])
    assert attention_cosines(query, [near, torch.zeros(2, 1, 2)]).tolist() == pytest.approx([0.9, 0.0])
    far = torch.tensor([[[-1.0, 0.0]], [[0.0, -1.0]]])
    assert float(attention_imbalance_rate(query, near, far)) == pytest.approx(1.9)
    assert float(attention_imbalance_rate(query, far, near)) == pytest.approx(-1.9)


def test_weights_by_hand() -> None:
    first, second = anchor_weights(torch.tensor([0.5, 0.2]), 2.0).tolist()
    assert first == pytest.approx((1 + math.tanh(-2 * 0.3)) / 2)
    assert first + second == pytest.approx(1)
    assert anchor_weights(torch.tensor([0.5, 0.2, -0.1]), 0.0).tolist() == pytest.approx([1 / 3] * 3)


def test_anchors_by_hand() -> None:
    query, keys = torch.tensor([0.0, 5.0]), [torch.tensor([7.0, 0.0]), torch.tensor([0.0, 0.1])]
    found = anchor_query(query, keys, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(found, torch.tensor([3.0, 4.0]))
    alone = anchor_query(query, [torch.zeros(2), keys[0]], torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(alone, torch.tensor([5.0, 0.0]))
    assert torch.equal(anchor_query(query, [keys[0], -keys[0]], torch.tensor([0.5, 0.5])), query)
    assert torch.equal(anchor_query(query, [torch.zeros(2)], torch.tensor([1.0])), query)


@METHODS
@settings(max_examples=25, deadline=None)
@given(width=st.sampled_from([2, 3, 16]), seed=st.integers(0, 10**6))
def test_rotations_turn_one_direction_into_the_other(method: str, width: int, seed: int) -> None:
    source, target, others = draw(width, seed=seed), 7 * draw(width, seed=seed + 1), draw(5, width, seed=seed + 2)
    rotation = rotation_matrix(source, target, method)
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(width, dtype=torch.float64))
    assert float(torch.linalg.det(rotation)) == pytest.approx(1)
    turned = rotated_mean_query(source, target, method)
    torch.testing.assert_close(turned / turned.norm(), target / target.norm())
    torch.testing.assert_close(turned.norm(), source.norm())
    torch.testing.assert_close(apply_rotation(others, rotation).norm(dim=1), others.norm(dim=1))


def test_minimal_rotations_by_hand() -> None:
    quarter = rotation_matrix(torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 0.5, 0.0]))
    torch.testing.assert_close(quarter, torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    x = torch.tensor([0.6, 0.8, 0.0])
    torch.testing.assert_close(rotation_matrix(x, 3 * x), torch.eye(3))
    half = rotation_matrix(x, -2 * x)
    torch.testing.assert_close(half @ x, -x)
    torch.testing.assert_close(
        half, torch.eye(3) - 2 * torch.outer(x, x) - 2 * torch.diag(torch.tensor([0.0, 0.0, 1.0]))
    )
    for method in ("minimal", "svd"):
        assert torch.equal(rotation_matrix(torch.zeros(3), x, method), torch.eye(3))
        assert torch.equal(rotation_matrix(x, torch.zeros(3), method), torch.eye(3))
    with pytest.raises(ValueError, match="no method called 'minimum', nearest is 'minimal'"):
        rotation_matrix(x, x, "minimum")


def test_without_sigma_the_query_comes_to_lie_between_the_keys() -> None:
    query, near, far = draw(6), draw(6) + 0.1 * draw(6, seed=1), draw(6, seed=2)
    cosines = attention_cosines(query.unsqueeze(0), [near.view(1, 1, -1), far.view(1, 1, -1)])
    for sigma, gap in ((0.0, 0.0), (50.0, None)):
        turned = rotated_mean_query(query, anchor_query(query, [near, far], anchor_weights(cosines, sigma)))
        one, other = (F.cosine_similarity(turned, key, dim=0) for key in (near, far))
        if gap is not None:
            assert float(one - other) == pytest.approx(gap, abs=1e-6)
        else:
            assert float(other) == pytest.approx(1)


# Turns ---------------------------------------------------------------------------------------------------------


def driven(modalities: int = 2, **hyperparameters: Any) -> tuple[RollingQ, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("rollingq", dataset, {"fusion_dropout": 0.0, **hyperparameters})
    assert isinstance(method, RollingQ)
    return method, hand_driven_context(method, dataset, Recipe(lr=0.05, batch_size=16))


def epoch(method: RollingQ, context: TrainingContext) -> Batch:
    """Train an epoch to its end; give the last batch."""
    method.on_epoch_start(context)
    for batch in context.training_batches(torch.arange(45), drop_last=False):
        method.training_step(batch, context)
    method.on_epoch_end(context)
    return batch


def measured(method: RollingQ, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """The query [D] and the mean keys [D] of a batch, by the parameters themselves."""
    layers, fusion = method.fusion.attention, method.fusion
    with torch.no_grad(), evaluating(method):
        query = apply_rotation(layers["query"](fusion.class_token).view(1, -1), fusion.rotation).squeeze(0)
        features = [method.encoders[m](batch.inputs[m]) for m in method.modalities]
        keys = [layers["key"](project(x)).mean(0) for project, x in zip(fusion.projections, features, strict=True)]
    return query, keys


def test_the_query_is_turned_towards_the_anchor_of_all_training_samples() -> None:
    method, context = driven(max_rotations=0)
    epoch(method, context)
    everything = toy_dataset().train.gather(torch.arange(45))
    query, keys = measured(method, everything)
    modes = list[bool]()
    method.encoders["audio"].register_forward_hook(lambda encoder, *_: modes.append(encoder.training))
    told = method.measured(context)
    assert (set(modes), method.training) == ({False}, True)
    torch.testing.assert_close(told[0], query)
    for found, expected in zip(told[1], keys, strict=True):
        torch.testing.assert_close(found, expected)
    weights = anchor_weights(told[2], 3.0)
    expected = rotation_matrix(query, anchor_query(query, keys, weights))
    method.turn(*told[:2], weights, context)
    torch.testing.assert_close(method.fusion.rotation, expected)
    turned, _ = measured(method, everything)
    torch.testing.assert_close(turned, anchor_query(query, keys, weights))
    assert int(method.rotations) == 1


@pytest.mark.parametrize(
    ("options", "turns"),
    [
        ({"beta": 0.0}, [1, 1, 1]),
        ({"beta": 0.0, "max_rotations": 2}, [1, 2, 2]),
        ({"beta": 0.0, "max_rotations": 0}, [0, 0, 0]),
        ({"beta": 2.1}, [0, 0, 0]),
    ],
)
def test_how_often_the_query_is_turned(options: dict[str, Any], turns: list[int]) -> None:
    records = list(toy_training("rollingq", {"fusion_dropout": 0.0, **options}, epochs=3).epochs())
    assert [r.diagnostics["rotations"] for r in records] == turns
    for before, record in zip([0, *turns], records, strict=False):
        turned = record.diagnostics["rotations"] > before
        assert ("weight_audio" in record.diagnostics) is turned
        if turned:
            assert record.diagnostics["weight_audio"] + record.diagnostics["weight_video"] == pytest.approx(1)
            assert 0 <= record.diagnostics["attention_imbalance"] <= 2


def test_the_imbalance_is_that_of_the_last_batch() -> None:
    method, context = driven(beta=2.1)
    seen: list[Tensor] = []
    real = method.cosines
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(method, "cosines", lambda query, keys: seen.append(real(query, keys)) or seen[-1])
        epoch(method, context)
    assert len(seen) == 3
    first, second = seen[-1].tolist()
    assert method.diagnostics()["attention_imbalance"] == pytest.approx(abs(first - second))
    assert context.logged()["cosine_audio"] == pytest.approx(
        sum(size * float(each[0]) for size, each in zip((16, 16, 13), seen, strict=True)) / 45, rel=1e-5
    )


def test_turns_compose_and_each_head_has_its_own() -> None:
    method, context = driven(heads=2, max_rotations=5)
    width = method.fusion.width
    first = [draw(width, seed=seed).float() for seed in range(3)]
    method.turn(first[0], first[1:], torch.tensor([0.5, 0.5]), context)
    once = method.fusion.rotation.clone()
    half = width // 2
    assert not once[:half, half:].any()
    assert not once[half:, :half].any()
    for part in (slice(0, half), slice(half, width)):
        anchor = anchor_query(first[0][part], [each[part] for each in first[1:]], torch.tensor([0.5, 0.5]))
        torch.testing.assert_close(once[part, part], rotation_matrix(first[0][part], anchor))
    method.turn(first[1], [first[0], first[2]], torch.tensor([0.5, 0.5]), context)
    again, _ = driven(heads=2)
    again.turn(first[1], [first[0], first[2]], torch.tensor([0.5, 0.5]), context)
    torch.testing.assert_close(method.fusion.rotation, again.fusion.rotation @ once)


def test_without_turns_training_is_that_of_attention_with_probes() -> None:
    method, context = driven(max_rotations=0)
    dataset = toy_dataset()
    options = {"fusion": "attention", "tokens": "all", "unimodal_source": "aux", "aux_detach": True}
    joint = toy_method("joint", dataset, {**options, "unimodal_loss_weight": 1.0})
    other = hand_driven_context(joint, dataset, Recipe(lr=0.05, batch_size=16))
    epoch(method, context)
    for batch in other.training_batches(torch.arange(45), drop_last=False):
        joint.training_step(batch, other)
    expected = dict(joint.named_parameters())
    for name, parameter in method.named_parameters():
        assert torch.equal(parameter, expected[name]), name


def test_the_rotation_belongs_to_the_exported_weights() -> None:
    method, context = driven(beta=0.0)
    batch = epoch(method, context)
    assert int(method.rotations) == 1
    other, _ = driven(beta=0.0)
    other.load_inference_state(method.inference_state())
    assert torch.equal(other.predict(batch)["multi"], method.predict(batch)["multi"])
    assert "rotations" not in method.inference_state()


def test_other_fusions_have_no_query() -> None:
    with pytest.raises(MethodError, match="turns the query of fusion attention, which concat has not"):
        RollingQ.check(RollingQHyperparameters(fusion="concat"), ("a", "b"))


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("rollingq")
