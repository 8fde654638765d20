"""What every fusion of feature vectors promises."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.device_waits import no_waits
from support.fusion_samples import biased, random_features
from torch import nn

from models import encoders
from models.fusion import (
    CHANNEL_FUSIONS,
    FUSIONS,
    NAMES,
    TOKEN_FUSIONS,
    AttentionFusion,
    CENFusion,
    ConcatFusion,
    ETMCFusion,
    FiLMFusion,
    GatedFusion,
    LateFusion,
    LateTransformerFusion,
    MLLSTMFusion,
    MMTMFusion,
    SumFusion,
    WeightFusion,
    build,
    fusion_class,
)

close = torch.testing.assert_close

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
    ("ml_lstm", [3, 5], {"lstm_hidden": 6}),
    ("ml_lstm", [3], {"lstm_hidden": 6, "lstm_layers": 1}),
    ("ml_lstm", [3, 5, 2], {"lstm_hidden": 6, "lstm_layers": 3}),
    ("etmc", [3, 5], {}),
    ("etmc", [3, 5], {"evidence": "exp", "annealing_epochs": 0}),
    ("etmc", [3, 5, 2], {"annealing_epochs": 3}),
    ("late", [3, 5], {}),
    ("late", [3, 5, 2], {"late_space": "logits"}),
    ("late", [3, 5, 2], {"late_train": "joint"}),
    ("late_transformer", [4, 4], {}),
    ("late_transformer", [3, 5, 2], {"norm": "pre", "positions": "learned", "transformer_depth": 1}),
    ("late_transformer", [3], {"transformer_heads": 2, "activation": "gelu", "feedforward_width": 7}),
    ("attention", [4, 4], {}),
    ("attention", [3, 5, 2], {"heads": 2, "token_width": 6}),
]
everyone = pytest.mark.parametrize(("name", "dims", "options"), VARIANTS)


@everyone
def test_own_modules_see_one_modality_alone(name: str, dims: list[int], options: dict[str, Any]) -> None:
    module = biased(name, dims, aux_heads=True, **options).eval()
    seen: dict[int, torch.Tensor] = {}
    for part in module.modules():
        part.register_forward_hook(lambda part, given, _: seen.__setitem__(id(part), given[0]))
    listed = [own for position in range(len(dims)) for own in module.own_modules(position)]
    assert len({id(own) for own in listed}) == len(listed)
    for position in range(len(dims)):
        assert module.aux_heads[position] in module.own_modules(position)
        first, second = random_features(*dims), random_features(*dims, seed=1)
        second[position] = first[position]
        inputs = []
        for features in (first, second):
            module.fuse(features)
            module.unimodal_logits(features, "aux")
            inputs.append([seen[id(own)] for own in module.own_modules(position)])
        for one, other in zip(*inputs, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "options", "own"),
    [
        ("concat", {}, set()),
        ("sum", {}, {"heads.1"}),
        ("late", {}, {"heads.1"}),
        ("etmc", {}, {"heads.1"}),
        ("weight", {"weight_mode": "attention"}, {"projections.1", "scorers.1"}),
        ("weight", {"aux_heads": True}, {"projections.1", "aux_heads.1"}),
        ("ml_lstm", {}, {"projections.1"}),
        ("gated", {}, set()),
    ],
)
def test_what_belongs_to_one_modality(name: str, options: dict[str, Any], own: set[str]) -> None:
    module = build(name, [3, 5], 4, **options)
    names = {id(part): path for path, part in module.named_modules()}
    assert {names[id(part)] for part in module.own_modules(1)} == own


@everyone
def test_shapes_determinism_and_gradients(name: str, dims: list[int], options: dict[str, Any]) -> None:
    module = biased(name, dims, **options).eval()
    features = [x.requires_grad_() for x in random_features(*dims)]
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
    module, features = biased(name, dims, aux_heads=True, **options), random_features(*dims)
    by_zero = []
    for m in range(len(dims)):
        masked = [x if k == m else torch.zeros_like(x) for k, x in enumerate(features)]
        by_zero.append(module(masked).logits)
    if name != "ml_lstm":  # which zeroes projected features
        for found, expected in zip(module.unimodal_logits(features, "zero"), by_zero, strict=True):
            assert torch.equal(found, expected)
    for head, x, found in zip(module.aux_heads, features, module.unimodal_logits(features, "aux"), strict=True):
        assert torch.equal(found, head(x))
    own = module.unimodal_logits(features, "native" if module.has_native else "zero")
    for found, expected in zip(module.unimodal_logits(features), own, strict=True):
        assert torch.equal(found, expected)
    if module.additive:
        close(torch.stack(own).sum(0), module(features).logits)
    elif module.has_native and len(dims) > 1:
        assert not torch.allclose(torch.stack(own).sum(0), module(features).logits)


@everyone
def test_weights_start_xavier_normal_and_biases_zero(name: str, dims: list[int], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = build(name, [40 * d for d in dims], 50, aux_heads=True, **options)
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    assert not any(layer.bias.any() for layer in layers)
    for weight in (layer.weight for layer in layers if layer.weight.numel() > 1000):
        assert weight.std().item() == pytest.approx(math.sqrt(2 / sum(weight.shape)), rel=0.1)


@everyone
def test_a_step_never_waits_for_the_device(name: str, dims: list[int], options: dict[str, Any]) -> None:
    module = build(name, dims, 4, aux_heads=True, **options).to("meta")
    features = [torch.randn(5, dim, device="meta", requires_grad=True) for dim in dims]
    with no_waits():
        output = module(features)
        loss = module.loss(output, torch.zeros(5, dtype=torch.int64, device="meta"))
        unimodal = [*module.unimodal_logits(features), *module.unimodal_logits(features, "aux")]
        (loss + torch.stack(unimodal).sum()).backward()


@everyone
def test_head_layers_are_what_logits_come_from(name: str, dims: list[int], options: dict[str, Any]) -> None:
    module = biased(name, dims, **options)
    for layer in module.head_layers:
        assert layer.out_features == 4
        nn.init.zeros_(layer.weight)
    logits = module.fuse(random_features(*dims)).logits
    close(logits, logits[:1].expand_as(logits))


@pytest.mark.parametrize(
    ("mode", "encoder"), [("mmtm", "cnn"), ("mmtm", "resnet18"), ("mmtm", "mlp"), ("cen", "cnn"), ("cen", "resnet18")]
)
def test_a_step_of_channels_never_waits_for_the_device(mode: str, encoder: str) -> None:
    built = [encoders.build(encoder, (1, 16, 16)) for _ in range(2)]
    module: Any = build("channel", built, 4, channel_mode=mode).to("meta")
    inputs = [torch.randn(5, 1, 16, 16, device="meta") for _ in range(2)]
    with no_waits():
        output = module(inputs)
        module.encode(inputs, present=[True, False])
        module.loss(output, torch.zeros(5, dtype=torch.int64, device="meta")).backward()


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
    module = biased("concat", [3, 5], aux_heads=True, aux_detach=detach)
    features = [x.requires_grad_() for x in random_features(3, 5)]
    torch.stack(module.unimodal_logits(features, "aux")).square().sum().backward()
    assert [x.grad is None for x in features] == [detach, detach]
    assert all(head.weight.grad.abs().sum() > 0 for head in module.aux_heads)


@pytest.mark.parametrize("name", [name for name in FUSIONS if name not in ("etmc", "late")])
def test_the_loss_of_the_others_is_cross_entropy(name: str) -> None:
    module, target = biased(name, [4, 4]), torch.tensor([0, 1, 2, 3, 0])
    output = module(random_features(4, 4))
    rows = [-output.logits[i].log_softmax(0)[target[i]].item() for i in range(5)]
    assert module.loss(output, target, epoch=3).item() == pytest.approx(sum(rows) / 5)


# By name -------------------------------------------------------------------------------------------------------


def test_names_and_options_are_the_constructors() -> None:
    vectors = (ConcatFusion, SumFusion, WeightFusion, FiLMFusion, GatedFusion, MLLSTMFusion, ETMCFusion, LateFusion)
    vectors += (LateTransformerFusion, AttentionFusion)
    assert tuple(FUSIONS.values()) == vectors
    assert {"mmtm": MMTMFusion, "cen": CENFusion} == CHANNEL_FUSIONS
    assert TOKEN_FUSIONS == ("late_transformer", "attention")
    assert NAMES == (
        "concat", "sum", "weight", "affine", "gated", "channel", "ml_lstm", "etmc", "late", "late_transformer",
        "attention",
    )  # fmt: skip
    assert [fusion_class(name) for name in NAMES] == [*vectors[:5], MMTMFusion, *vectors[5:]]
    assert fusion_class("channel", "cen") is CENFusion
    for kind in (*vectors, MMTMFusion, CENFusion):
        keywords = getattr(kind.__init__, "__kwdefaults__", None) or {}
        assert set(keywords) == kind.options
    assert [kind for kind in (*vectors, MMTMFusion, CENFusion) if kind.needs_own_loss] == [ETMCFusion, CENFusion]


@pytest.mark.parametrize(
    ("name", "dims", "options", "message"),
    [
        ("concta", [3, 3], {}, "no fusion called 'concta', nearest is 'concat'"),
        ("concat", [3, 3], {"additive": True}, "no option of fusion concat called 'additive'; there are: aux_heads"),
        ("weight", [3, 3], {"weight_mod": "softmax"}, "nearest is 'weight_mode'"),
        ("weight", [3, 3], {"weight_mode": "soft"}, "no weight_mode called 'soft'"),
        ("channel", [3, 3], {"channel_mode": "mtmm"}, "no channel_mode called 'mtmm', nearest is 'mmtm'"),
        ("ml_lstm", [3, 3], {"lstm_layers": 0}, "lstm_layers must be at least 1, got 0"),
        ("ml_lstm", [3, 3], {"lstm_hidden": 0}, "lstm_hidden must be at least 1, got 0"),
        ("etmc", [3, 3], {"evidence": "softmax"}, "no evidence called 'softmax'; there are: softplus, relu, exp"),
        ("late", [3, 3], {"late_train": "both"}, "no late_train called 'both'"),
        ("late", [3, 3], {"late_space": "prob"}, "nearest is 'probs'"),
    ],
)
def test_mistakes_are_named(name: str, dims: list[int], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, dims, 4, **options)
