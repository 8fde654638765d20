"""Attention over tokens: the equations against torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.fusion import (
    class_attention,
    marked_tokens,
    token_sequence,
    transformer_layer,
    transformer_logits,
    transformer_unimodal_logits,
)
from models.fusion.token_equations import one_modality

close = torch.testing.assert_close


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _torch_layer(norm: str, activation: str, seed: int = 0) -> tuple[nn.TransformerEncoderLayer, dict[str, Tensor]]:
    """A layer of torch of width 8 with 2 heads, and its tensors by the names of the equations."""
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(8, 2, 12, 0.0, activation, batch_first=True, norm_first=norm == "pre").double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    names = {name.removeprefix("self_attn.").replace(".", "_"): p for name, p in layer.named_parameters()}
    return layer, names


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_layer_is_torchs(norm: str, activation: str) -> None:
    layer, parameters = _torch_layer(norm, activation)
    x, mask = _draw(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)
    mask[0, 2:4], mask[1, 4] = False, False
    # In training torch takes the path of its equations; there is no dropout.
    expected = layer.train()(x, src_key_padding_mask=~mask)
    close(transformer_layer(x, mask, parameters, 2, norm, activation), expected)


def test_logits_are_those_of_the_class_token_after_all_layers() -> None:
    pairs = [_torch_layer("pre", "relu", seed) for seed in (0, 1)]
    x, mask = _draw(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)
    mask[:, 3] = False
    weight, bias, scale, shift = _draw(4, 8), _draw(4), _draw(8), _draw(8)
    hidden = x
    for layer, _ in pairs:
        hidden = layer.train()(hidden, src_key_padding_mask=~mask)
    layers = [parameters for _, parameters in pairs]
    close(transformer_logits(x, mask, layers, weight, bias, 2, "pre"), hidden[:, 0] @ weight.T + bias)
    normed = F.layer_norm(hidden[:, 0], (8,), scale, shift)
    found = transformer_logits(x, mask, layers, weight, bias, 2, "pre", "relu", (scale, shift))
    close(found, normed @ weight.T + bias)


def test_logits_of_one_modality_mask_all_others() -> None:
    _, parameters = _torch_layer("post", "relu")
    x, weight, bias = _draw(3, 6, 8), _draw(4, 8), _draw(4)
    found = transformer_unimodal_logits(x, [2, 1, 2], [parameters], weight, bias, 2)
    for logits, own in zip(found, ([1, 2], [3], [4, 5]), strict=True):
        kept = x[:, [0, *own]]
        close(logits, transformer_logits(kept, kept.new_ones(kept.shape[:2]) > 0, [parameters], weight, bias, 2))


def test_the_sequence_by_hand() -> None:
    first, second = torch.tensor([[1.0, 2.0]]), torch.tensor([[[3.0], [4.0]]])
    token, weight, bias = torch.tensor([7.0, 8.0]), torch.tensor([[10.0], [100.0]]), torch.tensor([0.5, 0.0])
    found = token_sequence([first, second], token, [None, weight], [None, bias])
    assert found["tokens"].tolist() == [[[7, 8], [1, 2], [30.5, 300], [40.5, 400]]]
    assert found["mask"].tolist() == [[True] * 4]
    places = torch.arange(8.0).view(4, 2)
    found = token_sequence([first, first, first], token, positions=places, present=torch.tensor([[True, False, True]]))
    assert found["tokens"].tolist() == [[[7, 9], [3, 5], [5, 7], [7, 9]]]
    assert found["mask"].tolist() == [[True, True, False, True]]
    counted = torch.tensor([[True, False]])
    found = token_sequence(
        [second, first[:, :1]], token[:1], present=torch.tensor([True, False]), counted=[counted, None]
    )
    assert found["mask"].tolist() == [[True, True, False, False]]


def _attention_parameters(width: int) -> dict[str, Tensor]:
    return {
        f"{name}_{kind}": _draw(*shape, seed=seed)
        for seed, name in enumerate(("query", "key", "value", "out"))
        for kind, shape in (("weight", (width, width)), ("bias", (width,)))
    }


@pytest.mark.parametrize("heads", [1, 2])
def test_class_attention_is_torchs(heads: int) -> None:
    x, mask, p = _draw(3, 5, 4, seed=9), torch.ones(3, 5, dtype=torch.bool), _attention_parameters(4)
    mask[0, 1] = False
    found = class_attention(x, mask, p, heads=heads)
    own = nn.MultiheadAttention(4, heads, batch_first=True).double()
    own.in_proj_weight.data = torch.cat([p[f"{name}_weight"] for name in ("query", "key", "value")])
    own.in_proj_bias.data = torch.cat([p[f"{name}_bias"] for name in ("query", "key", "value")])
    own.out_proj.weight.data, own.out_proj.bias.data = p["out_weight"], p["out_bias"]
    output, weights = own(x[:, :1], x, x, key_padding_mask=~mask, average_attn_weights=False)
    close(found["output"], output[:, 0])
    close(found["weights"], weights[:, :, 0])
    close(found["query"], x[:, 0] @ p["query_weight"].T + p["query_bias"])
    close(found["keys"], x @ p["key_weight"].T + p["key_bias"])


def test_a_rotation_turns_the_query_and_is_undone_by_turning_the_keys() -> None:
    x, mask, p = _draw(3, 5, 4, seed=9), torch.ones(3, 5, dtype=torch.bool), _attention_parameters(4)
    plain, rotation = class_attention(x, mask, p), torch.linalg.qr(_draw(4, 4, seed=5))[0]
    turned = class_attention(x, mask, p, rotation)
    close(turned["query"], plain["query"] @ rotation.T)
    assert not torch.allclose(turned["weights"], plain["weights"])
    both_turned = {**p, "key_weight": rotation @ p["key_weight"], "key_bias": rotation @ p["key_bias"]}
    close(class_attention(x, mask, both_turned, rotation)["weights"], plain["weights"])
    identity = class_attention(x, mask, p, torch.eye(4, dtype=torch.float64))
    assert all(torch.equal(identity[key], plain[key]) for key in plain)


def test_mistakes_in_the_equations_are_named() -> None:
    _, parameters = _torch_layer("post", "relu")
    x, mask = _draw(1, 2, 8), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        transformer_layer(x, mask, parameters, 3)
    with pytest.raises(ValueError, match="no norm called 'past', nearest is 'post'"):
        transformer_layer(x, mask, parameters, 2, "past")
    with pytest.raises(ValueError, match="no activation called 'gel', nearest is 'gelu'"):
        transformer_layer(x, mask, parameters, 2, "post", "gel")
    with pytest.raises(ValueError, match="3 heads do not divide a width of 4"):
        class_attention(_draw(1, 2, 4), mask, _attention_parameters(4), heads=3)


def test_marks_say_which_tokens_count() -> None:
    tokens, counted = torch.tensor([[[2.0], [3.0]]]), torch.tensor([[True, False]])
    assert marked_tokens(tokens, counted).tolist() == [[[2, 1], [0, 0]]]


def test_a_mask_is_left_with_one_modality_after_the_other() -> None:
    mask = torch.tensor([[True, True, False, True], [False, True, True, True]])
    assert one_modality(mask, [2, 1]).int().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 1]]


def test_dropped_are_weights_what_is_read_and_hidden_units(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[tuple[tuple[int, ...], float]] = []

    def dropout(given: Tensor, share: float) -> Tensor:
        dropped.append((tuple(given.shape), share))
        return given

    monkeypatch.setattr(F, "dropout", dropout)
    _, parameters = _torch_layer("post", "relu")
    x, mask = _draw(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)
    transformer_layer(x, mask, parameters, 2, dropout=0.25)
    assert dropped == [((3, 2, 5, 5), 0.25), ((3, 5, 8), 0.25), ((3, 5, 12), 0.25), ((3, 5, 8), 0.25)]
    dropped.clear()
    class_attention(_draw(3, 5, 4), mask, _attention_parameters(4), dropout=0.5)
    assert dropped == [((3, 1, 1, 5), 0.5), ((3, 4), 0.5)]
    dropped.clear()
    transformer_layer(x, mask, parameters, 2)
    class_attention(_draw(3, 5, 4), mask, _attention_parameters(4))
    assert {share for _, share in dropped} == {0.0}
