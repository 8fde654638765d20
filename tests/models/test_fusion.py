"""Fusion modules: their equations against values by hand and naive loops, then what every fusion promises."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from models.fusion import (
    FUSIONS,
    ConcatFusion,
    FiLMFusion,
    Fusion,
    GatedFusion,
    LateFusion,
    SumFusion,
    WeightFusion,
    build,
    concat_unimodal_logits,
    film,
    gated,
    late_average,
    softmax_weights,
    weighted_features,
)

close = torch.testing.assert_close


def _features(*widths: int, batch: int = 5, seed: int = 0, scale: float = 1.0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(batch, width, generator=random, dtype=torch.float64) for width in widths]


def _build(name: str, dims: list[int], classes: int = 4, **options: Any) -> Fusion:
    """In double precision, with biases that are not zero."""
    torch.manual_seed(1)
    module = build(name, dims, classes, **options).double()
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    return module


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
        concat_unimodal_logits(_features(2, 2), torch.zeros(4, 3), None)


def test_late_average_by_hand() -> None:
    logits = [torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[math.log(9.0), 0.0]])]
    close(late_average(logits), torch.tensor([[math.log(3.0), math.log(3.0) / 2]]))
    close(late_average(logits, "probs"), torch.tensor([[0.575, 0.425]]).log())
    with pytest.raises(ValueError, match="no space called 'prob', nearest is 'probs'"):
        late_average(logits, "prob")


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([1.0, 1e3]))
def test_late_average_of_probabilities_is_a_distribution(seed: int, count: int, scale: float) -> None:
    logits = _features(*[3] * count, seed=seed, scale=scale)
    average = late_average(logits, "probs")
    assert average.isfinite().all()
    close(average.exp(), sum(x.softmax(1) for x in logits) / count)


def test_softmax_weights_by_naive_loops() -> None:
    features = _features(4, 4, 4, batch=2)
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
    features = _features(*[6] * count, seed=seed, scale=scale)
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
        function(_features(2, 3))


def test_film_by_hand() -> None:
    condition, target = torch.tensor([[2.0, -1.0]]), torch.tensor([[3.0, 5.0]])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 2.0]])  # gamma = (2, -1), beta = (1, -2)
    assert film(condition, target, weight, None).tolist() == [[7.0, -7.0]]
    bias = torch.tensor([1.0, 1.0, 0.0, 10.0])
    assert film(condition, target, weight, bias).tolist() == [[10.0, 8.0]]


def test_film_of_the_identity_returns_the_target() -> None:
    condition, target = _features(3, 4)
    bias = torch.tensor([1.0] * 4 + [0.0] * 4, dtype=torch.float64)
    assert torch.equal(film(condition, target, torch.zeros(8, 3, dtype=torch.float64), bias), target)
    with pytest.raises(ValueError, match="width 4 needs 8 rows, got 6"):
        film(condition, target, torch.zeros(6, 3, dtype=torch.float64), None)


def test_gated_by_hand() -> None:
    found = gated(torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[4.0, -8.0]]))
    close(found, torch.tensor([[2.0, -6.0]]))


# Every fusion --------------------------------------------------------------------------------------------------

VARIANTS: list[tuple[str, list[int], dict[str, Any]]] = [
    ("concat", [3, 5], {}),
    ("concat", [3, 5, 2], {}),
    ("concat", [3], {}),
    ("sum", [3, 5], {}),
    ("sum", [3, 5, 2], {}),
    ("weight", [4, 4], {}),
    ("weight", [3, 5, 2], {"additive": True}),
    ("weight", [4, 4, 4], {"weight_mode": "attention"}),
    ("weight", [3, 5], {"weight_mode": "attention", "additive": True}),
    ("affine", [3, 5], {}),
    ("affine", [3, 5], {"film_direction": "second_conditions_first"}),
    ("affine", [3, 5, 2], {}),
    ("affine", [3, 5, 2], {"film_target": 1}),
    ("gated", [3, 5], {}),
    ("gated", [3, 5], {"gate_direction": "second_gates_first", "gate_width": 7}),
    ("gated", [3, 5, 2], {"gate_target": 0}),
    ("late", [3, 5], {}),
    ("late", [3, 5, 2], {"late_space": "logits"}),
    ("late", [3, 5, 2], {"late_train": "joint"}),
]
everyone = pytest.mark.parametrize(("name", "dims", "options"), VARIANTS)


@everyone
def test_shapes_determinism_and_gradients(name: str, dims: list[int], options: dict[str, Any]) -> None:
    module = _build(name, dims, **options).eval()
    features = [x.requires_grad_() for x in _features(*dims)]
    output = module(features)
    assert output.logits.shape == (5, 4)
    assert all(x.shape[0] == 5 for x in output.features)
    assert torch.equal(module(features).logits, output.logits)
    loss = module.loss(output, torch.tensor([0, 1, 2, 3, 0]))
    assert loss.shape == ()
    loss.backward()
    assert all(x.grad.abs().sum() > 0 for x in features)
    assert all(p.grad is not None for p in module.parameters())


@everyone
def test_unimodal_logits_of_every_source(name: str, dims: list[int], options: dict[str, Any]) -> None:
    module, features = _build(name, dims, aux_heads=True, **options), _features(*dims)
    by_zero = []
    for m in range(len(dims)):
        masked = [x if k == m else torch.zeros_like(x) for k, x in enumerate(features)]
        by_zero.append(module(masked).logits)
    for found, expected in zip(module.unimodal_logits(features, "zero"), by_zero, strict=True):
        assert torch.equal(found, expected)
    for head, x, found in zip(module.aux_heads, features, module.unimodal_logits(features, "aux"), strict=True):
        assert torch.equal(found, head(x))
    own = module.unimodal_logits(features, "native" if module.has_native else "zero")
    for found, expected in zip(module.unimodal_logits(features), own, strict=True):
        assert torch.equal(found, expected)
    if module.additive:
        close(torch.stack(own).sum(0), module(features).logits)
    elif module.has_native:
        assert not torch.allclose(torch.stack(own).sum(0), module(features).logits)


@everyone
def test_weights_start_xavier_normal_and_biases_zero(name: str, dims: list[int], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = build(name, [40 * d for d in dims], 50, aux_heads=True, **options)
    assert all(not p.any() for p in module.parameters() if p.dim() == 1)
    for weight in (p for p in module.parameters() if p.dim() == 2 and p.numel() > 1000):
        assert weight.std().item() == pytest.approx(math.sqrt(2 / sum(weight.shape)), rel=0.1)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_wrong_number_of_modalities_is_refused(name: str) -> None:
    kind = FUSIONS[name]
    least = 2 if name in ("affine", "gated") else 1
    assert [kind.supports(count) for count in range(4)] == [count >= least for count in range(4)]
    for count in range(least):
        with pytest.raises(ValueError, match=f"fusion {name} is not defined for M = {count}"):
            kind([3] * count, 4)


@pytest.mark.parametrize("name", FUSIONS)
def test_sources_that_a_fusion_does_not_have_are_refused(name: str) -> None:
    module, features = build(name, [3, 3], 4), [torch.zeros(1, 3)] * 2
    assert module.aux_heads is None
    with pytest.raises(ValueError, match=f"fusion {name} was built without auxiliary heads"):
        module.unimodal_logits(features, "aux")
    with pytest.raises(ValueError, match="nearest is 'native'"):
        module.unimodal_logits(features, "nativ")
    if not module.has_native:
        with pytest.raises(ValueError, match=f"fusion {name} has no native"):
            module.unimodal_logits(features, "native")


@pytest.mark.parametrize("detach", [True, False])
def test_detached_auxiliary_heads_do_not_reach_the_encoder(detach: bool) -> None:
    module = _build("concat", [3, 5], aux_heads=True, aux_detach=detach)
    features = [x.requires_grad_() for x in _features(3, 5)]
    torch.stack(module.unimodal_logits(features, "aux")).square().sum().backward()
    assert [x.grad is None for x in features] == [detach, detach]
    assert all(head.weight.grad.abs().sum() > 0 for head in module.aux_heads)


# Each fusion ---------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 10**6))
def test_concat_splits_exactly(dims: list[int], seed: int) -> None:
    module, features = _build("concat", dims), _features(*dims, seed=seed)
    logits = module(features).logits
    close(logits, torch.cat(features, 1) @ module.head.weight.T + module.head.bias)
    close(torch.stack(module.unimodal_logits(features)).sum(0), logits)
    zeroed = [torch.zeros_like(features[0]), *features[1:]]
    assert torch.equal(module.unimodal_logits(zeroed)[0], (module.head.bias / len(dims)).expand(5, 4))


def test_concat_and_sum_are_the_same_functions() -> None:
    concat, add, features = _build("concat", [3, 5, 2]), _build("sum", [3, 5, 2]), _features(3, 5, 2)
    with torch.no_grad():
        for head, block in zip(add.heads, concat.head.weight.split([3, 5, 2], dim=1), strict=True):
            head.weight.copy_(block)
            head.bias.copy_(concat.head.bias / 3)
    close(add(features).logits, concat(features).logits)
    for own, other in zip(add.unimodal_logits(features), concat.unimodal_logits(features), strict=True):
        close(own, other)


def test_weight_classifies_the_weighted_sum() -> None:
    module, features = _build("weight", [4, 4]), _features(4, 4)
    output = module(features)
    close(output.features, [weighted_features(features)])
    close(output.logits, module.head(weighted_features(features)))
    close(module.unimodal_logits(features), [module.head(x) for x in features])
    assert sum(p.numel() for p in module.parameters()) == 4 * 4 + 4


def test_weight_projects_unequal_widths_to_the_largest() -> None:
    module, features = _build("weight", [3, 5]), _features(3, 5)
    projected = [layer(x) for layer, x in zip(module.projections, features, strict=True)]
    assert [x.shape[1] for x in projected] == [5, 5]
    close(module(features).logits, module.head(weighted_features(projected)))
    close(module.unimodal_logits(features), [module.head(x) for x in projected])


def test_attention_weighs_whole_modalities() -> None:
    module, features = _build("weight", [4, 4], weight_mode="attention"), _features(4, 4)
    scores = torch.cat([scorer(x) for scorer, x in zip(module.scorers, features, strict=True)], dim=1)
    assert module.scorers[0][0].out_features == 128
    shares = scores.exp() / scores.exp().sum(1, keepdim=True)
    close(module(features).features[0], shares[:, :1] * features[0] + shares[:, 1:] * features[1])


def _copy(target: nn.Module, source: nn.Module) -> nn.Module:
    target.load_state_dict(source.state_dict())
    return target


@pytest.mark.parametrize(
    ("kind", "option", "swapped"),
    [(FiLMFusion, "film_direction", "second_conditions_first"), (GatedFusion, "gate_direction", "second_gates_first")],
)
def test_swapping_direction_and_modalities_changes_nothing(kind: type[Fusion], option: str, swapped: str) -> None:
    first, features = _build(kind.name, [3, 5]), _features(3, 5)
    second = _copy(kind([5, 3], 4, **{option: swapped}).double(), first)
    close(second(features[::-1]).logits, first(features).logits)


def test_film_fusion_by_its_equation() -> None:
    module, (a, b, c) = _build("affine", [3, 5, 2], film_target=1), _features(3, 5, 2)
    conditioned = torch.cat([a, c], 1) @ module.film.weight.T + module.film.bias
    fused = conditioned[:, :5] * b + conditioned[:, 5:]
    output = module([a, b, c])
    close(output.features, [fused])
    close(output.logits, module.head(fused))


def test_gated_fusion_by_its_equation() -> None:
    module, (a, b) = _build("gated", [3, 5]), _features(3, 5)
    gate, value = module.gate(a), module.value(b)
    output = module([a, b])
    assert gate.shape == value.shape == (5, 5)
    close(output.features, [gate, value])
    close(output.logits, module.head(value / (1 + (-gate).exp())))


def test_gated_features_stand_in_modality_order() -> None:
    module, (a, b) = _build("gated", [3, 5], gate_direction="second_gates_first"), _features(3, 5)
    close(module([a, b]).features, [module.value(a), module.gate(b)])
    assert module([a, b]).features[0].shape == (5, 3)


def test_target_defaults_to_the_last_of_three() -> None:
    for name, option in (("affine", "film_target"), ("gated", "gate_target")):
        default, named = _build(name, [3, 5, 2]), build(name, [3, 5, 2], 4, **{option: 2}).double()
        features = _features(3, 5, 2)
        assert torch.equal(default(features).logits, _copy(named, default)(features).logits)


@pytest.mark.parametrize("train", ["separate", "joint"])
@pytest.mark.parametrize("space", ["probs", "logits"])
def test_late_fusion_trains_and_predicts(train: str, space: str) -> None:
    module, features = _build("late", [3, 5], late_train=train, late_space=space), _features(3, 5)
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


@pytest.mark.parametrize("name", [name for name in FUSIONS if name != "late"])
def test_the_loss_of_the_others_is_cross_entropy(name: str) -> None:
    module, target = _build(name, [4, 4]), torch.tensor([0, 1, 2, 3, 0])
    output = module(_features(4, 4))
    rows = [-output.logits[i].log_softmax(0)[target[i]].item() for i in range(5)]
    assert module.loss(output, target, epoch=3).item() == pytest.approx(sum(rows) / 5)


# By name -------------------------------------------------------------------------------------------------------


def test_names_and_options_are_the_constructors() -> None:
    kinds = (ConcatFusion, SumFusion, WeightFusion, FiLMFusion, GatedFusion, LateFusion)
    assert tuple(FUSIONS.values()) == kinds
    assert list(FUSIONS) == ["concat", "sum", "weight", "affine", "gated", "late"]
    for kind in FUSIONS.values():
        keywords = getattr(kind.__init__, "__kwdefaults__", None) or {}
        assert set(keywords) == kind.options


@pytest.mark.parametrize(
    ("name", "dims", "options", "message"),
    [
        ("concta", [3, 3], {}, "no fusion called 'concta', nearest is 'concat'"),
        ("concat", [3, 3], {"additive": True}, "no option of fusion concat called 'additive'; there are: aux_heads"),
        ("weight", [3, 3], {"weight_mod": "softmax"}, "nearest is 'weight_mode'"),
        ("weight", [3, 3], {"weight_mode": "soft"}, "no weight_mode called 'soft'"),
        ("late", [3, 3], {"late_train": "both"}, "no late_train called 'both'"),
        ("late", [3, 3], {"late_space": "prob"}, "nearest is 'probs'"),
        ("affine", [3, 3], {"film_direction": "first"}, "no film_direction called 'first'"),
        ("affine", [3, 3], {"film_target": 1}, "film_target is for three and more modalities"),
        ("affine", [3] * 3, {"film_target": 3}, "position from 0 to 2, got 3"),
        ("affine", [3] * 3, {"film_direction": "second_conditions_first"}, "of 3, set film_target"),
        ("gated", [3] * 3, {"gate_target": -1}, "position from 0 to 2, got -1"),
        ("gated", [3, 3], {"gate_width": 0}, "gate_width must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named(name: str, dims: list[int], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, dims, 4, **options)
