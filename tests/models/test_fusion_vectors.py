"""Fusions of feature vectors: their equations against values by hand and naive loops, then their classes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fusion_samples import biased, random_features
from torch.nn import functional as F

from models.fusion import (
    concat_unimodal_logits,
    late_average,
    softmax_weights,
    weighted_features,
)

close = torch.testing.assert_close

# Equations -----------------------------------------------------------------------------------------------------


def test_concat_unimodal_logits_by_hand() -> None:
    features = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]])]
    weight = torch.tensor([[1.0, 10.0, 100.0], [2.0, 0.0, -1.0]])
    first, second = concat_unimodal_logits(features, weight, torch.tensor([4.0, 6.0]))
    assert first.tolist() == [[23.0, 5.0]]
    assert second.tolist() == [[302.0, 0.0]]
    first, second = concat_unimodal_logits(features, weight, None)
    assert first.tolist() == [[21.0, 2.0]]
    assert second.tolist() == [[300.0, -3.0]]


def test_concat_unimodal_logits_refuse_widths_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"widths \[2, 2\] do not fit a weight of 3 columns"):
        concat_unimodal_logits(random_features(2, 2), torch.zeros(4, 3), None)


def test_late_average_by_hand() -> None:
    logits = [torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[math.log(9.0), 0.0]])]
    close(late_average(logits), torch.tensor([[math.log(3.0), math.log(3.0) / 2]]))
    close(late_average(logits, "probs"), torch.tensor([[0.575, 0.425]]).log())
    with pytest.raises(ValueError, match="no space called 'prob', nearest is 'probs'"):
        late_average(logits, "prob")


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([1.0, 1e3]))
def test_late_average_of_probabilities_is_a_distribution(seed: int, count: int, scale: float) -> None:
    logits = random_features(*[3] * count, seed=seed, scale=scale)
    average = late_average(logits, "probs")
    assert average.isfinite().all()
    close(average.exp(), sum(x.softmax(1) for x in logits) / count)


def test_softmax_weights_by_naive_loops() -> None:
    features = random_features(4, 4, 4, batch=2)
    found, fused = softmax_weights(features), weighted_features(features)
    for row in range(2):
        totals = [sum(math.exp(v) for v in x[row].tolist()) for x in features]
        for column in range(4):
            values = [x[row, column].item() for x in features]
            shares = [math.exp(v) / total for v, total in zip(values, totals, strict=True)]
            weights = [share / sum(shares) for share in shares]
            assert [w[row, column].item() for w in found] == pytest.approx(weights)
            assert fused[row, column].item() == pytest.approx(sum(w * v for w, v in zip(weights, values, strict=True)))


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([0.1, 1.0, 5.0]))
def test_softmax_weights_are_positive_sum_to_one_and_swap_with_the_modalities(
    seed: int, count: int, scale: float
) -> None:
    features = random_features(*[6] * count, seed=seed, scale=scale)
    stacked, weights, fused = torch.stack(features), softmax_weights(features), weighted_features(features)
    assert all((w > 0).all() for w in weights)
    close(torch.stack(weights).sum(0), torch.ones_like(features[0]))
    for w, other in zip(weights, reversed(softmax_weights(features[::-1])), strict=True):
        close(w, other)
    assert (fused >= stacked.amin(0) - 1e-12).all()
    assert (fused <= stacked.amax(0) + 1e-12).all()


def test_softmax_weights_where_every_share_underflows() -> None:
    x = torch.tensor([[0.0, 2000.0, -1000.0]])
    weights = softmax_weights([x, x.clone(), x.clone()])
    assert all(torch.equal(w, torch.full_like(x, 1 / 3)) for w in weights)
    first, second = softmax_weights([x, torch.tensor([[0.0, 2001.0, -1000.0]])])
    # log shares of the last entry: -3000 and -3001
    assert first[0, 2].item() == pytest.approx(1 / (1 + math.exp(-1)))
    assert second.isfinite().all()


@pytest.mark.parametrize("function", [softmax_weights, weighted_features])
def test_softmax_weights_refuse_unequal_widths(function: Any) -> None:
    with pytest.raises(ValueError, match=r"one width .* got \[2, 3\]"):
        function(random_features(2, 3))


# Each fusion ---------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 10**6))
def test_concat_splits_exactly(dims: list[int], seed: int) -> None:
    module, features = biased("concat", dims), random_features(*dims, seed=seed)
    logits = module(features).logits
    close(logits, torch.cat(features, 1) @ module.head.weight.T + module.head.bias)
    close(torch.stack(module.unimodal_logits(features)).sum(0), logits)
    zeroed = [torch.zeros_like(features[0]), *features[1:]]
    assert torch.equal(module.unimodal_logits(zeroed)[0], (module.head.bias / len(dims)).expand(5, 4))


def test_concat_and_sum_are_the_same_functions() -> None:
    concat, add, features = biased("concat", [3, 5, 2]), biased("sum", [3, 5, 2]), random_features(3, 5, 2)
    with torch.no_grad():
        for head, block in zip(add.heads, concat.head.weight.split([3, 5, 2], dim=1), strict=True):
            head.weight.copy_(block)
            head.bias.copy_(concat.head.bias / 3)
    close(add(features).logits, concat(features).logits)
    for own, other in zip(add.unimodal_logits(features), concat.unimodal_logits(features), strict=True):
        close(own, other)


def test_weight_classifies_the_weighted_sum() -> None:
    module, features = biased("weight", [4, 4]), random_features(4, 4)
    output = module(features)
    close(output.features, [weighted_features(features)])
    close(output.logits, module.head(weighted_features(features)))
    close(module.unimodal_logits(features), [module.head(x) for x in features])
    assert sum(p.numel() for p in module.parameters()) == 4 * 4 + 4


def test_weight_projects_unequal_widths_to_the_largest() -> None:
    module, features = biased("weight", [3, 5]), random_features(3, 5)
    projected = [layer(x) for layer, x in zip(module.projections, features, strict=True)]
    assert [x.shape[1] for x in projected] == [5, 5]
    close(module(features).logits, module.head(weighted_features(projected)))
    close(module.unimodal_logits(features), [module.head(x) for x in projected])


def test_attention_weighs_whole_modalities() -> None:
    module, features = biased("weight", [4, 4], weight_mode="attention"), random_features(4, 4)
    scores = torch.cat([scorer(x) for scorer, x in zip(module.scorers, features, strict=True)], dim=1)
    assert module.scorers[0][0].out_features == 128
    shares = scores.exp() / scores.exp().sum(1, keepdim=True)
    close(module(features).features[0], shares[:, :1] * features[0] + shares[:, 1:] * features[1])


@pytest.mark.parametrize("train", ["separate", "joint"])
@pytest.mark.parametrize("space", ["probs", "logits"])
def test_late_fusion_trains_and_predicts(train: str, space: str) -> None:
    module, features = biased("late", [3, 5], late_train=train, late_space=space), random_features(3, 5)
    target = torch.tensor([0, 1, 2, 3, 0])
    heads = [head(x) for head, x in zip(module.heads, features, strict=True)]
    output = module(features)
    close(module.unimodal_logits(features), heads)
    if train == "joint":
        mean = (heads[0] + heads[1]) / 2
        close(output.logits, mean)
        close(module.loss(output, target), F.cross_entropy(mean, target))
        return
    probabilities = (heads[0].softmax(1) + heads[1].softmax(1)) / 2
    close(output.logits, probabilities.log() if space == "probs" else (heads[0] + heads[1]) / 2)
    close(module.loss(output, target), F.cross_entropy(heads[0], target) + F.cross_entropy(heads[1], target))
