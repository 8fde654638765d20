"""MokA: its equations by hand, what its adapters change and leave alone, and a frozen backbone that no file holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context, move_to
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.tiny_encoders import samples, tiny
from support.tiny_llama import ROWS, saved_llama
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MethodError
from methods.moka import AdaptedLinear, MokA, MokAHyperparameters, cross_attend, equations, low_rank_tokens, moka_delta
from methods.moka.adapters import Adaptation, SequenceRoles
from sweep.training.recipe import Recipe

SMALL = {"width": 16, "heads": 2, "depth": 1}
VARIANTS = [
    Variant("defaults", {**SMALL, "lora_dropout": 0.0}, epochs=2),
    Variant("of-three", {**SMALL, "lora_dropout": 0.0, "anchor_modality": "video", "lambda_": {"audio": 0.5},
                         "scale_before_attention": True, "target_modules": ["fc1"]}, modalities=3, epochs=3),
    Variant("shared-projection", {**SMALL, "adapter": "lora", "rank": 2, "target_modules": ["qkv", "fc1"],
                                  "projector_epochs": 1.0}, epochs=3, epochs_to_learn=8),
    Variant("fine-tuned", {**SMALL, "adapter": "none"}, epochs=3),
]  # fmt: skip


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Equations -----------------------------------------------------------------------------------------------------

A = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])]


def test_tokens_are_projected_by_their_modality() -> None:
    x = torch.tensor([[[3.0, 5.0], [3.0, 5.0], [3.0, 5.0]]])
    assert low_rank_tokens(x, torch.tensor([[0, 1, -1]]), A).tolist() == [[[3.0], [10.0], [0.0]]]
    with pytest.raises(ValueError, match="modality id 2: there are 2 weights A"):
        low_rank_tokens(x, torch.tensor([[0, 2, -1]]), A)


def test_attention_by_hand() -> None:
    keys = torch.tensor([[[0.0], [math.log(3.0)], [100.0]], [[1.0], [2.0], [3.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    found = cross_attend(torch.tensor([[[1.0]], [[1.0]]]), keys, mask)
    assert found.flatten().tolist() == pytest.approx([0.75 * math.log(3.0), 0.0])
    # Of rank 4 the products are halved.
    wide = F.pad(keys[:1], (0, 3))
    assert float(cross_attend(torch.tensor([[[2.0, 0, 0, 0]]]), wide, mask[:1])[0, 0, 0]) == pytest.approx(
        0.75 * math.log(3.0)
    )
    assert cross_attend(torch.ones(1, 2, 3), torch.ones(1, 0, 3), torch.ones(1, 0, dtype=torch.bool)).tolist() == [
        [[0.0] * 3] * 2
    ]


def test_delta_by_hand() -> None:
    """One text token u = 3, so that attention gives 3; another modality's u = 10."""
    x, ids = torch.tensor([[[3.0, 5.0], [3.0, 5.0], [7.0, 7.0]]]), torch.tensor([[0, 1, -1]])
    b, keys = torch.tensor([[1.0], [-1.0]]), torch.tensor([[True, False, True]])
    found = moka_delta(x, ids, keys, A, b, scaling=2.0, lambda_=0.5)
    assert found.tolist() == [[[6.0, -6.0], [23.0, -23.0], [0.0, 0.0]]]
    assert torch.equal(moka_delta(x, ids, keys, A, b, 2.0, [9.0, 0.5]), found)
    # Of a single key attention is linear, so that the place of the factor does not matter; of two it does.
    assert torch.equal(moka_delta(x, ids, keys, A, b, 2.0, 0.5, scale_before_attention=True), found)
    two, both = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 0.5]]]), torch.tensor([[0, 0, 1]])
    keys = torch.tensor([[True, True, False]])
    after, before = (moka_delta(two, both, keys, A, b, 2.0, 1.0, 0, first)[0, 2, 0] for first in (False, True))
    assert float(after) == pytest.approx(2 * (1 + 1 / (1 + math.exp(-1))))
    assert float(before) == pytest.approx(2 + 2 / (1 + math.exp(-4)))
    # Unless it is said, the first modality is attended to, and the factor comes after.
    shared = Adaptation(2, rank=1, alpha=2.0, dropout=0.0, strengths=[9.0, 1.0])
    with shared.of(SequenceRoles(both, keys), training=False):
        assert torch.equal(shared.delta(two, A, b)[0, 2, 0], after)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), text=st.integers(0, 2), first=st.booleans())
def test_what_a_token_depends_on(seed: int, text: int, first: bool) -> None:
    x, b, weights = 0.3 * draw(4, 7, 5, seed=seed), draw(6, 2, seed=seed + 1), list(draw(3, 2, 5, seed=seed + 2))
    ids = torch.randint(-1, 3, (4, 7), generator=torch.Generator().manual_seed(seed))
    ids[:, 0], ids[:, 1] = text, (text + 1) % 3
    keys = ids == text

    def delta(x: Tensor, lambda_: float | list[float] = 0.7, weights: list[Tensor] = weights) -> Tensor:
        return moka_delta(x, ids, keys, weights, b, 2.0, lambda_, text, first)

    found = delta(x)
    assert not found[ids < 0].any()
    torch.testing.assert_close(moka_delta(x[1:2], ids[1:2], keys[1:2], weights, b, 2.0, 0.7, text, first), found[1:2])
    # Other modalities change nothing of the text; the text changes all of theirs.
    other = torch.where((ids == text).unsqueeze(2), x, draw(4, 7, 5, seed=seed + 3))
    assert torch.equal(delta(other)[keys], found[keys])
    moved = x.clone()
    moved[:, 0] += 1
    assert bool((delta(moved)[:, 1] != found[:, 1]).any(1).all())
    # Without attention tokens are alone, and with one A the adapter is plain LoRA.
    assert torch.equal(delta(moved, 0.0)[:, 1:], delta(x, 0.0)[:, 1:])
    lora = 2.0 * F.linear(F.linear(x, weights[0]), b) * (ids >= 0).unsqueeze(2)
    torch.testing.assert_close(delta(x, 0.0, [weights[0]] * 3), lora)


def test_attention_is_no_wider_than_those_who_read_and_those_who_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long sequence with a short anchor that is most of the cost."""
    shapes, attend = list[tuple[int, int]](), equations.cross_attend

    def recorded(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        shapes.append((queries.shape[1], keys.shape[1]))
        return attend(queries, keys, mask)

    monkeypatch.setattr(equations, "cross_attend", recorded)
    x, b, weights = draw(2, 9, 5), draw(6, 2, seed=1), list(draw(2, 2, 5, seed=2))
    ids = torch.tensor([[-1, 1, 1, 1, -1, 0, 0, -1, -1], [-1, -1, 1, 1, 1, 0, -1, -1, -1]])
    found = moka_delta(x, ids, ids == 0, weights, b, 2.0, 0.7)
    assert shapes == [(4, 2)]
    tokens = low_rank_tokens(x, ids, weights)
    scores = (tokens @ tokens.mT / 2**0.5).masked_fill((ids != 0).unsqueeze(1), -math.inf)
    tokens = tokens + 0.7 * (ids == 1).unsqueeze(2) * (scores.softmax(2) @ tokens)
    torch.testing.assert_close(found, 2.0 * tokens @ b.T)
    alone = moka_delta(x, ids, ids > 1, weights, b)
    assert shapes[1] == (4, 0)
    torch.testing.assert_close(alone, low_rank_tokens(x, ids, weights) @ b.T)


# The method ----------------------------------------------------------------------------------------------------


def own(hyperparameters: dict[str, Any] | None = None, modalities: int = 2) -> MokA:
    method = toy_method("moka", toy_dataset(modalities), {**SMALL, **(hyperparameters or {})}).eval()
    assert isinstance(method, MokA)
    return method


def stirred(method: MokA) -> MokA:
    """Give every B numbers other than zero, so that adapters change something."""
    torch.manual_seed(1)
    for layer in method.backbone.modules():
        if isinstance(layer, AdaptedLinear):
            layer.b_weight.data.normal_(0, 0.1)
    return method


def test_adapters_change_nothing_at_first() -> None:
    batch = toy_dataset().test.gather(torch.arange(5))
    plain, adapted = own({"adapter": "none"}), own()
    state = adapted.state_dict()
    plain.load_state_dict({n.replace(".base.", "."): v for n, v in state.items() if not n.endswith("b_weight")
                           and ".a_weights." not in n})  # fmt: skip
    assert torch.equal(adapted(batch).logits, plain(batch).logits)
    assert not torch.allclose(stirred(adapted)(batch).logits, plain(batch).logits)


def test_named_layers_alone_are_adapted() -> None:
    def adapted(targets: list[str] | None) -> set[str]:
        layers = own({"target_modules": targets}).backbone.named_modules()
        return {name for name, layer in layers if isinstance(layer, AdaptedLinear)}

    assert adapted(["qkv"]) == {"layers.0.attn.qkv"}
    assert adapted(None) == {f"layers.0.{name}" for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
    with pytest.raises(MethodError, match="no linear layer of the backbone called 'q_proj', nearest is 'proj'"):
        own({"target_modules": ["q_proj"]})


def test_weights_of_an_adapter() -> None:
    shapes = {}
    for adapter in ("moka", "lora"):
        method = own({"adapter": adapter, "rank": 2, "target_modules": ["fc1"]}, modalities=3)
        (layer,) = [each for each in method.backbone.modules() if isinstance(each, AdaptedLinear)]
        shapes[adapter] = [list(each.shape) for each in layer.own_parameters]
        assert all(0 < float(each.detach().abs().max()) <= 1 / 4 for each in layer.a_weights)
        assert not layer.b_weight.any()
    assert shapes == {"moka": [[2, 16], [2, 16], [2, 16], [64, 2]], "lora": [[2, 16], [64, 2]]}


def test_strengths_are_those_that_are_named_and_one_for_the_others() -> None:
    named = own({"lambda_": {"video": 0.5}, "anchor_modality": "video"}, modalities=3).adaptation
    assert (named.count, named.strengths, named.anchor) == (3, [1.0, 0.5, 1.0], 1)
    assert own({"lambda_": 0.3}).adaptation.strengths == [0.3, 0.3]
    plain = own({"adapter": "lora", "lambda_": 0.3}).adaptation
    assert (plain.count, plain.strengths) == (1, [])


def test_an_adapter_is_scaled_by_alpha_over_its_rank_and_drops_in_training_alone() -> None:
    shared = Adaptation(1, rank=2, alpha=6.0, dropout=0.5)
    layer, x = AdaptedLinear(nn.Linear(5, 3), shared), draw(2, 4, 5, seed=1).float()
    torch.nn.init.normal_(layer.b_weight)
    roles = SequenceRoles(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.bool))
    with shared.of(roles, training=False):
        found = layer(x)
    torch.testing.assert_close(found, layer.base(x) + 3.0 * x @ layer.a_weights[0].T @ layer.b_weight.T)
    with shared.of(roles, training=True):
        assert not torch.allclose(layer(x), found)
    assert shared.roles is None


def test_random_numbers_are_those_of_the_dropout_of_adapters() -> None:
    for values, expected in (
        ({}, False),
        ({"lora_dropout": 0.1}, True),
        ({"lora_dropout": 0.1, "adapter": "none"}, False),
    ):
        hyperparameters = MokAHyperparameters.model_validate({"lora_dropout": 0.0, **values})
        assert MokA.world_size_matters(hyperparameters) is expected


def test_encoders_without_tokens_are_refused() -> None:
    class Plain(nn.Linear):
        out_dim = 3

    with pytest.raises(MethodError, match="the tokens of encoders, which that of video does not give"):
        MokA({"video": Plain(2, 3), "text": Plain(2, 3)}, 3, MokAHyperparameters(), 2)


def test_unimodal_logits_are_those_with_the_others_absent() -> None:
    method, dataset = stirred(own(modalities=3)), toy_dataset(3)
    batch = dataset.test.gather(torch.arange(5))
    found = method.predict(batch)
    for modality in dataset.modalities:
        torch.testing.assert_close(found[modality], method.predict(batch, present=[modality])["multi"])
    absent = torch.tensor([True, True, True, False, False])
    mixed = method.predict(Batch(batch.inputs, batch.labels, batch.index, present={"audio": ~absent}))["multi"]
    torch.testing.assert_close(mixed[:3], method.predict(batch, present=["video", "text"])["multi"][:3])
    torch.testing.assert_close(mixed[3:], found["multi"][3:])


def test_the_anchor_comes_last_and_its_own_logits_need_no_attention() -> None:
    batch = toy_dataset().test.gather(torch.arange(5))
    at_one, at_none = (stirred(own({"lambda_": value})).predict(batch) for value in (1.0, 0.0))
    assert torch.equal(at_one["audio"], at_none["audio"])  # the anchor reads nobody
    torch.testing.assert_close(at_one["video"], at_none["video"])  # nobody is there to be read
    assert not torch.allclose(at_one["multi"], at_none["multi"])


def test_no_forward_pass_is_over_places_that_are_padding_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    method, batch = stirred(own(modalities=3)), toy_dataset(3).test.gather(torch.arange(5))
    lengths = list[int]()
    method.backbone.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    found = method.predict(batch, present=["video", "text"])
    assert lengths == [2, 1, 1, 1]  # all that is there, then each modality; one that is absent keeps a place
    monkeypatch.setattr(method, "places_in_use", lambda mask: torch.arange(mask.shape[1]))
    whole = method.predict(batch, present=["video", "text"])
    assert lengths[4:] == [3] * 4
    for name, logits in whole.items():
        torch.testing.assert_close(found[name], logits)


def test_phases_train_what_they_name() -> None:
    method = own({"projector_epochs": 0.5, "freeze_encoders": True, "lora_dropout": 0.0})
    first, second = method.phases
    assert (first.name, first.epochs, first.budget, first.selectable_epochs) == ("projectors", 2, False, 0)
    assert (second.epochs, second.groups) == (4, {"projectors": 1.0, "adapters": 1.0, "backbone": 1.0})
    context, changed = hand_driven_context(method, toy_dataset(), Recipe(batch_size=16)), []
    for epoch in (1, 3):
        move_to(context, method, epoch)
        before = {name: p.detach().clone() for name, p in method.named_parameters()}
        method.training_step(next(context.training_batches(torch.arange(16), drop_last=False)), context)
        moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
        changed.append({name.partition(".")[0] for name in moved})
    assert changed == [{"projectors", "head"}, {"projectors", "head", "backbone"}]


def test_what_does_not_fit_is_refused() -> None:
    for hyperparameters, said in (
        ({"freeze_backbone": True}, "freeze_backbone would keep random weights for ever"),
        ({"width": 18, "heads": 4}, "width 18 has to be even, and a multiple of its 4 heads"),
        ({"anchor_modality": "vidoe"}, "no modality called 'vidoe', nearest is 'video'"),
        ({"lambda_": {"vidoe": 1.0}}, "lambda_: no modality called 'vidoe'"),
        ({"pretrained": "./nowhere"}, "moka: pretrained: there is no file or folder ./nowhere"),
    ):
        with pytest.raises(MethodError, match=said):
            own(hyperparameters)
    for values in ({"target_modules": []}, {"lambda_": -1.0}, {"lambda_": {"audio": -1.0}}):
        with pytest.raises(ValueError, match=next(iter(values))):
            MokAHyperparameters.model_validate(values)


# A pretrained backbone -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("llama")
    saved_llama(folder)
    return {"pretrained": str(folder), "rank": 2}


def test_of_a_frozen_backbone_adapters_alone_are_trained_kept_and_exported(llama: dict[str, Any]) -> None:
    trained = toy_training("moka", llama, epochs=2, precision="bf16")
    method = trained.method
    assert isinstance(method, MokA)
    frozen = {name: value.clone() for name, value in method.backbone.named_buffers() if "base.weight" in name}
    assert len(frozen) == 14
    records = list(trained.epochs())
    assert all(math.isfinite(record.loss) for record in records)
    assert all(torch.equal(value, dict(method.backbone.named_buffers())[name]) for name, value in frozen.items())
    layers = [each for each in method.backbone.modules() if isinstance(each, AdaptedLinear)]
    assert all(layer.b_weight.any() for layer in layers)
    parts = {name.split(".")[0] for name, _ in method.named_parameters()}
    assert parts == {"encoders", "projectors", "head", "backbone"}
    assert {id(p) for p in method.backbone.parameters()} == {id(p) for each in layers for p in each.own_parameters}
    kept = method.inference_state()
    assert kept.keys() == method.state_dict().keys() == {*dict(method.named_parameters()), "frozen_sum"}
    again = toy_method("moka", toy_dataset(), llama, seed=8).eval()
    again.load_inference_state(kept)
    batch = toy_dataset().test.gather(torch.arange(5))
    assert torch.equal(again.predict(batch)["multi"], method.eval().predict(batch)["multi"])


def test_another_backbone_than_was_trained_with_is_noticed(llama: dict[str, Any], tmp_path: Path) -> None:
    kept = toy_method("moka", toy_dataset(), llama).inference_state()
    saved_llama(tmp_path, seed=6)
    other = toy_method("moka", toy_dataset(), {**llama, "pretrained": str(tmp_path)})
    with pytest.raises(ValueError, match=f"{tmp_path} holds another backbone than was trained with"):
        other.load_inference_state(kept)


def test_fine_tuning_trains_a_pretrained_backbone(llama: dict[str, Any]) -> None:
    assert not MokAHyperparameters(adapter="none", pretrained="any").frozen
    method = toy_method("moka", toy_dataset(), {**llama, "adapter": "none"})
    assert "backbone.network.layers.0.self_attn.q_proj.weight" in dict(method.named_parameters())
    assert method.phases[0].groups == {"projectors": 1.0, "backbone": 1.0, "encoders": 1.0}


def test_a_share_without_samples_has_logits_of_no_rows(llama: dict[str, Any]) -> None:
    method = toy_method("moka", toy_dataset(), llama)
    logits = method(toy_dataset().test.gather(torch.arange(0))).logits
    assert logits.shape == (0, 4)
    logits.sum().backward()
    assert method.head.weight.grad is not None  # type: ignore[union-attr]


def test_text_enters_by_the_table_of_the_backbone(llama: dict[str, Any]) -> None:
    def built(**options: Any) -> MokA:
        encoders = {"image": tiny("mlp"), "text": tiny("bert", **options)}
        return MokA(encoders, 3, MokAHyperparameters(**llama), 1).eval()

    method = built()
    assert method.modalities[method.anchor] == "text"
    assert list(method.projectors) == ["image"]
    words = samples("bert")
    batch = Batch({"image": samples("mlp"), "text": words}, torch.zeros(3, dtype=torch.int64), torch.arange(3))
    _, text = method.encode(batch)
    ids, mask = words[:, 0], words[:, 1].bool()
    assert torch.equal(text[..., -1] > 0, mask)
    assert torch.equal(text[..., :-1][mask], method.backbone.table(ids)[mask])  # type: ignore[operator]
    # Ids of padding say nothing.
    filled = torch.stack([torch.where(mask, ids, 7), words[:, 1]], dim=1)
    other = Batch({**batch.inputs, "text": filled}, batch.labels, batch.index)
    assert torch.equal(method.predict(batch)["multi"], method.predict(other)["multi"])
    with pytest.raises(MethodError, match=f"vocabulary of 60, the backbone of {ROWS}; use the backbone's tokenizer"):
        built(vocabulary=60)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("moka")
