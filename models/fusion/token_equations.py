"""Attention over the modalities' tokens: the equations of ``late_transformer`` and ``attention``.

A modality is one token, its feature vector, or a sequence of them. L: tokens of a sample without the class token, which
is row 0 of [B, 1 + L, D]. A mask, bool [B, 1 + L], says which tokens are attended to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from models.fusion.base import require

Parameters = Mapping[str, Tensor]
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


def token_sequence(
    features: Sequence[Tensor],
    class_token: Tensor,
    weights: Sequence[Tensor | None] | None = None,
    biases: Sequence[Tensor | None] | None = None,
    positions: Tensor | None = None,
    present: Tensor | None = None,
    counted: Sequence[Tensor | None] | None = None,
) -> dict[str, Tensor]:
    """Put the class token [D] in front of the modalities' tokens: ``tokens`` [B, 1 + L, D] and their ``mask``.

    features: [B, d_m], one token, or [B, L_m, d_m]. weights, biases: of the projections, [D, d_m] and [D], None where a
    modality is not projected. positions: [1 + L, D], added. present: bool [B, M] or [M], whose tokens are in the mask
    (None: all). counted: bool [B, L_m] each, which tokens of a modality are (None: all)."""
    sequences = [x if x.dim() == 3 else x.unsqueeze(1) for x in features]
    none = [None] * len(sequences)
    projected = [
        x if weight is None else F.linear(x, weight, bias)
        for x, weight, bias in zip(sequences, weights or none, biases or none, strict=True)
    ]
    first = class_token.expand(len(projected[0]), 1, -1)
    tokens = torch.cat([first, *projected], dim=1)
    seen = [torch.ones(tokens.shape[0], 1, dtype=torch.bool, device=tokens.device)]
    for m, (x, own) in enumerate(zip(sequences, counted or none, strict=True)):
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if own is None else own
        seen.append(mask if present is None else mask & present[..., m, None])
    return {"tokens": tokens if positions is None else tokens + positions, "mask": torch.cat(seen, dim=1)}


def attention(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, heads: int, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Let queries [B, Q, D] read values [B, L, D] by their keys [B, L, D], in ``heads`` heads: what is read [B, Q, D],
    and the weights [B, heads, Q, L], before dropout. mask: bool [B, L], which keys are attended to. Raises ValueError
    where the heads do not divide D."""
    width = query.shape[-1]
    if width % heads:
        raise ValueError(f"{heads} heads do not divide a width of {width}")
    by_head = [x.unflatten(2, (heads, width // heads)).transpose(1, 2) for x in (query, keys, values)]
    scores = by_head[0] @ by_head[1].transpose(2, 3) / (width // heads) ** 0.5
    weights = scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(-1)
    mixed = F.dropout(weights, dropout) @ by_head[2]
    return mixed.transpose(1, 2).flatten(2), weights


def transformer_layer(
    x: Tensor,
    mask: Tensor,
    parameters: Parameters,
    heads: int,
    norm: str = "post",
    activation: str = "relu",
    dropout: float = 0.0,
) -> Tensor:
    """Apply a Transformer layer to tokens [B, L, D], as torch's ``TransformerEncoderLayer`` computes it.

    parameters: in_proj, out_proj, linear1, linear2, norm1 and norm2, each with _weight and _bias. norm: post, after
    each sum, or pre, before what is added. Vaswani et al., "Attention Is All You Need", NeurIPS 2017. Raises
    ValueError for another norm or activation, and for heads that do not divide D."""
    require("norm", norm, ("post", "pre"))
    require("activation", activation, tuple(ACTIVATIONS))

    def applied(name: str, given: Tensor) -> Tensor:
        weight, bias = parameters[f"{name}_weight"], parameters[f"{name}_bias"]
        return F.layer_norm(given, weight.shape, weight, bias) if weight.dim() == 1 else F.linear(given, weight, bias)

    def attended(given: Tensor) -> Tensor:
        query, keys, values = applied("in_proj", given).chunk(3, dim=-1)
        mixed, _ = attention(query, keys, values, mask, heads, dropout)
        return F.dropout(applied("out_proj", mixed), dropout)

    def fed_forward(given: Tensor) -> Tensor:
        hidden = F.dropout(ACTIVATIONS[activation](applied("linear1", given)), dropout)
        return F.dropout(applied("linear2", hidden), dropout)

    if norm == "pre":
        x = x + attended(applied("norm1", x))
        return x + fed_forward(applied("norm2", x))
    x = applied("norm1", x + attended(x))
    return applied("norm2", x + fed_forward(x))


def transformer_logits(
    tokens: Tensor,
    mask: Tensor,
    layers: Sequence[Parameters],
    weight: Tensor,
    bias: Tensor,
    heads: int,
    norm: str = "post",
    activation: str = "relu",
    final_norm: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Compute the logits [B, C] of the class token after ``layers``, each as in :func:`transformer_layer`.

    weight: [C, D]; bias: [C]; final_norm: weight and bias [D] of a last layer norm. Rheude, Eils and Wild, "Fusion or
    Confusion? Multimodal Complexity Is Not All You Need", 2025."""
    for parameters in layers:
        tokens = transformer_layer(tokens, mask, parameters, heads, norm, activation)
    hidden = tokens[:, 0]
    if final_norm is not None:
        hidden = F.layer_norm(hidden, final_norm[0].shape, *final_norm)
    return F.linear(hidden, weight, bias)


def transformer_unimodal_logits(
    tokens: Tensor,
    lengths: Sequence[int],
    layers: Sequence[Parameters],
    weight: Tensor,
    bias: Tensor,
    heads: int,
    norm: str = "post",
    activation: str = "relu",
    final_norm: tuple[Tensor, Tensor] | None = None,
) -> list[Tensor]:
    """Compute the logits [B, C] of each modality, all others masked, as :func:`transformer_logits`. lengths: tokens of
    each modality."""
    seen = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    rows, masks = tokens.repeat(len(lengths), 1, 1), one_modality(seen, lengths)
    logits = transformer_logits(rows, masks, layers, weight, bias, heads, norm, activation, final_norm)
    return list(logits.chunk(len(lengths)))


def one_modality(mask: Tensor, lengths: Sequence[int]) -> Tensor:
    """Leave in a mask the class token and one modality, for each in turn: [B, 1 + L] -> [M B, 1 + L], modality after
    modality."""
    seen = torch.zeros_like(mask).repeat(len(lengths), 1).unflatten(0, (len(lengths), len(mask)))
    seen[:, :, 0] = mask[:, 0]
    start = 1
    for m, length in enumerate(lengths):
        seen[m, :, start : start + length] = mask[:, start : start + length]
        start += length
    return seen.flatten(0, 1)


def class_attention(
    tokens: Tensor,
    mask: Tensor,
    parameters: Parameters,
    rotation: Tensor | None = None,
    heads: int = 1,
    dropout: float = 0.0,
) -> dict[str, Tensor]:
    """Let the class token of [B, L, D], its row 0, read all tokens: ``output`` [B, D], ``weights`` [B, heads, L], its
    ``query`` [B, D] and all ``keys`` [B, L, D].

    parameters: query, key, value and out, each with _weight [D, D] and _bias [D]. rotation: R [D, D], which turns the
    query, q R^T (None: not at all); of several heads it is block-diagonal. Ni et al., "RollingQ: Reviving the
    Cooperation Dynamics in Multimodal Transformer", ICML 2025."""

    def applied(name: str, given: Tensor) -> Tensor:
        return F.linear(given, parameters[f"{name}_weight"], parameters[f"{name}_bias"])

    query, keys = applied("query", tokens[:, 0]), applied("key", tokens)
    if rotation is not None:
        query = F.linear(query, rotation)
    mixed, weights = attention(query.unsqueeze(1), keys, applied("value", tokens), mask, heads, dropout)
    output = F.dropout(applied("out", mixed.squeeze(1)), dropout)
    return {"output": output, "weights": weights.squeeze(2), "query": query, "keys": keys}


def marked_tokens(tokens: Tensor, counted: Tensor) -> Tensor:
    """Write beside the numbers of each token [B, L, D] whether it counts, 1 or 0, and zeros for those that do not:
    [B, L, D + 1]. So tokens are one tensor, and the zeros that stand for an absent modality have no token."""
    return torch.cat([tokens, torch.ones_like(tokens[..., :1])], dim=2) * counted.unsqueeze(2)
