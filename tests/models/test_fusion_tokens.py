"""Attention over tokens: masks, absent modalities, and both fusions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.device_waits import no_waits
from support.fusion_samples import biased, random_features
from torch import Tensor, nn

from models.fusion import (
    AttentionFusion,
    LateTransformerFusion,
    build,
    marked_tokens,
    token_sequence,
    transformer_logits,
    transformer_unimodal_logits,
)
from models.fusion.tokens import _mean_of

close = torch.testing.assert_close
BOTH = ("late_transformer", "attention")
both = pytest.mark.parametrize("name", BOTH)
counts = pytest.mark.parametrize("widths", [(4, 4), (3, 5, 2), (4, 3, 4, 2, 4, 1)], ids=len)


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Absent modalities ---------------------------------------------------------------------------------------------


@both
@counts
def test_a_masked_modality_has_no_influence(name: str, widths: tuple[int, ...]) -> None:
    module = biased(name, list(widths)).eval()
    present = torch.ones(5, len(widths), dtype=torch.bool)
    present[1, 0], present[2:, 1] = False, False
    features, others = ([x.requires_grad_() for x in random_features(*widths, seed=seed)] for seed in (0, 1))
    changed = [torch.where(present[:, m, None], x, others[m]) for m, x in enumerate(features)]
    logits = module.fuse(features, present).logits
    close(module.fuse(changed, present).logits, logits, rtol=0, atol=0)
    logits.square().sum().backward()
    assert not features[0].grad[1].any()
    assert not features[1].grad[2:].any()
    assert features[0].grad[2:].any(1).all()
    with module.only(present):
        assert torch.equal(module.fuse(features).logits, logits)
    everything = torch.ones(len(widths), dtype=torch.bool)
    assert torch.equal(module.fuse(features, everything).logits, module.fuse(features).logits)


@both
@counts
def test_native_logits_are_those_of_one_modality_present(name: str, widths: tuple[int, ...]) -> None:
    module, features = biased(name, list(widths)).eval(), random_features(*widths)
    for m, logits in enumerate(module.unimodal_logits(features)):
        close(module.fuse(features, torch.arange(len(widths)) == m).logits, logits)


@both
def test_without_any_modality_all_samples_are_alike(name: str) -> None:
    module, features = biased(name, [4, 3]).eval(), random_features(4, 3)
    logits = module.fuse(features, torch.zeros(2, dtype=torch.bool)).logits
    close(logits, logits[:1].expand_as(logits))
    with module.only(torch.tensor([True, False])):
        alone = module.unimodal_logits(features)
    close(alone[1], logits)
    assert not torch.allclose(alone[0], logits)


@pytest.mark.parametrize("name", ["concat", "sum", "weight", "late"])
def test_other_fusions_zero_what_is_absent(name: str) -> None:
    module, features = biased(name, [3, 3]), random_features(3, 3)
    present = torch.tensor([[True, True], [False, True], [True, False], [True, True], [False, False]])
    hidden = [x * present[:, m, None] for m, x in enumerate(features)]
    assert torch.equal(module.fuse(features, present).logits, module.fuse(hidden).logits)


# Tokens --------------------------------------------------------------------------------------------------------


@both
def test_all_tokens_are_read_but_those_that_do_not_count(name: str) -> None:
    # Positions that do not depend on how many tokens there are.
    options = {"positions": "learned"} if name == "late_transformer" else {}
    module = biased(name, [4, 3], tokens="all", aux_heads=True, **options).eval()
    first, second = _draw(5, 3, 4), _draw(5, 2, 3, seed=1)
    counted = torch.ones(5, 3, dtype=torch.bool)
    counted[0, 1:] = False
    features = [marked_tokens(first, counted), marked_tokens(second, torch.ones(5, 2, dtype=torch.bool))]
    logits = module.fuse(features).logits
    close(module.fuse([first, second]).logits[1:], logits[1:])
    close(module.fuse([first[:1, :1], second[:1]]).logits, logits[:1])
    aux = module.unimodal_logits(features, "aux")
    close(aux[0][:1], module.aux_heads[0](first[:1, 0]))
    close(aux[0][1:], module.aux_heads[0](first[1:].mean(1)))
    # Zeros in the place of a feature are a modality without tokens.
    close(module.fuse([features[0], torch.zeros_like(features[1])]).logits,
          module.fuse(features, torch.tensor([True, False])).logits)  # fmt: skip
    close(module.unimodal_logits(features)[0], module.fuse(features, torch.tensor([True, False])).logits)
    zero = module.unimodal_logits(features, "zero")[0]
    close(zero[1:], module.fuse([first, torch.zeros_like(second)]).logits[1:])


@both
def test_reading_all_tokens_never_waits_for_the_device(name: str) -> None:
    module = build(name, [4, 3], 5, tokens="all", aux_heads=True).to("meta")
    counted = torch.ones(2, 3, dtype=torch.bool, device="meta")
    features = [marked_tokens(torch.randn(2, 3, width, device="meta"), counted) for width in (4, 3)]
    with no_waits():
        logits = [module.fuse(features, torch.ones(2, 2, dtype=torch.bool, device="meta")).logits]
        for source in ("native", "zero", "aux"):
            logits += module.unimodal_logits(features, source)
        torch.stack(logits).sum().backward()


def test_without_positions_modalities_may_change_places() -> None:
    module = biased("attention", [4, 4]).eval()
    first, second = random_features(4, 4)
    close(module.fuse([second, first]).logits, module.fuse([first, second]).logits)
    with_positions = biased("late_transformer", [4, 4]).eval()
    with_positions.projections[1].load_state_dict(with_positions.projections[0].state_dict())
    logits = with_positions.fuse([first, second]).logits
    assert not torch.allclose(with_positions.fuse([second, first]).logits, logits)


# The fusions ---------------------------------------------------------------------------------------------------


def test_late_transformer_is_its_equations() -> None:
    options: dict[str, Any] = {"transformer_heads": 2, "norm": "pre", "activation": "gelu", "positions": "learned"}
    module, features = biased("late_transformer", [4, 3], **options).eval(), random_features(4, 3)
    weights, biases = zip(*((p.weight, p.bias) for p in module.projections), strict=True)
    sequence = token_sequence(features, module.class_token, weights, biases, module.learned)
    layers = [{n.replace(".", "_"): p for n, p in layer.named_parameters()} for layer in module.layers]
    rest = (layers, module.head.weight, module.head.bias, 2, "pre", "gelu")
    last = (module.final_norm.weight, module.final_norm.bias)
    close(module(features).logits, transformer_logits(sequence["tokens"], sequence["mask"], *rest, last))
    expected = transformer_unimodal_logits(sequence["tokens"], [1, 1], *rest, last)
    for found, logits in zip(module.unimodal_logits(features), expected, strict=True):
        close(found, logits)


def test_positions_continue_over_all_tokens_or_are_one_a_modality() -> None:
    fixed = build("late_transformer", [4, 4], 3).positions([2, 1])
    assert fixed.shape == (4, 4)
    close(fixed[1, 0], torch.tensor(1.0).sin())
    close(fixed[1, 2], torch.tensor(1.0).cos())
    close(fixed[3, 1], torch.tensor(0.03).sin())
    learned = build("late_transformer", [4, 4], 3, positions="learned")
    assert torch.equal(learned.positions([2, 1]), learned.learned[[0, 1, 1, 2]])
    assert build("late_transformer", [3, 3], 3, transformer_heads=1).positions([1, 1]).shape == (3, 3)


def test_widths_and_parameters() -> None:
    module = build("late_transformer", [64, 64], 10)
    depth, width, hidden = 2, 64, 128
    layer = 4 * width**2 + 4 * width + 2 * width * hidden + hidden + width + 4 * width
    count = 2 * (64 * width + width) + width + depth * layer + width * 10 + 10
    assert sum(p.numel() for p in module.parameters()) == count
    assert [isinstance(p, nn.Identity) for p in build("attention", [4, 3], 2).projections] == [True, False]
    assert build("late_transformer", [5, 3], 2).width == 8
    assert build("attention", [5, 3], 2, heads=2).width == 6
    assert build("attention", [5, 3], 2, token_width=16).width == 16


def test_attention_shows_its_query_and_keys_and_keeps_its_rotation() -> None:
    module, features = biased("attention", [4, 4, 4]).eval(), random_features(4, 4, 4)
    assert torch.equal(module.rotation, torch.eye(4, dtype=torch.float64))
    output = module(features)
    assert [tuple(output.extra[key].shape) for key in ("query", "keys", "mask")] == [(5, 4), (5, 4, 4), (5, 4)]
    parts = module.by_modality(output.extra["keys"], features)
    close(parts[1][:, 0], module.attention["key"](features[1]))
    module.rotation.copy_(torch.linalg.qr(_draw(4, 4))[0])
    turned = module(features)
    close(turned.extra["query"], output.extra["query"] @ module.rotation.T)
    again = biased("attention", [4, 4, 4])
    again.load_state_dict(module.state_dict())
    assert torch.equal(again.eval()(features).logits, turned.logits)


@pytest.mark.parametrize(("name", "option"), [("late_transformer", "transformer_dropout"),
                                              ("attention", "fusion_dropout")])  # fmt: skip
def test_dropout_is_for_training(name: str, option: str) -> None:
    module, features = biased(name, [4, 4], **{option: 0.5}), random_features(4, 4)
    assert not torch.equal(module(features).logits, module(features).logits)
    plain = biased(name, [4, 4])
    assert torch.equal(module.eval()(features).logits, plain(features).logits)


@pytest.mark.parametrize("kind", [LateTransformerFusion, AttentionFusion])
def test_mistakes_are_named(kind: Any) -> None:
    heads = "transformer_heads" if kind is LateTransformerFusion else "heads"
    with pytest.raises(ValueError, match=f"fusion {kind.name}: 3 heads do not divide a token_width of 64"):
        kind([4, 4], 3, token_width=64, **{heads: 3})
    with pytest.raises(ValueError, match="no tokens called 'every'; there are: one, all"):
        kind([4, 4], 3, tokens="every")


def test_of_the_tokens_of_a_modality_those_that_count_are_averaged() -> None:
    tokens = torch.tensor([[[1.0], [3.0], [8.0]], [[2.0], [4.0], [6.0]]])
    close(_mean_of(tokens, None), torch.tensor([[4.0], [4.0]]))
    counted = torch.tensor([[True, True, False], [False, False, False]])
    close(_mean_of(tokens, counted), torch.tensor([[2.0], [0.0]]))
