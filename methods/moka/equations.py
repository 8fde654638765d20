"""The equations of MokA, on a sequence of tokens [B, L, D] that says of each token its modality, -1 of padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

PADDING = -1
"""Number of the modality of tokens that belong to none."""


def low_rank_tokens(x: Tensor, modality_ids: Tensor, a_weights: list[Tensor]) -> Tensor:
    """u_l = A_m x_l, with the A of the token's modality: [B, L, D] and M of [r, D] -> [B, L, r].

    modality_ids: int64 [B, L], below M; a token of -1 becomes zeros. Raises ValueError for an id of M or more; on an
    accelerator, where a look at the ids holds up every step, such a token becomes zeros."""
    count = len(a_weights)
    if modality_ids.device.type == "cpu" and modality_ids.numel() and int(modality_ids.max()) >= count:
        raise ValueError(f"modality id {int(modality_ids.max())}: there are {count} weights A, ids count from 0")
    each = F.linear(x, torch.cat(a_weights)).unflatten(2, (count, -1))
    own = modality_ids.unsqueeze(2) == torch.arange(count, device=x.device)
    return each.masked_fill(~own.unsqueeze(3), 0).sum(2)


def cross_attend(queries: Tensor, keys: Tensor, key_mask: Tensor) -> Tensor:
    """softmax(q kᵀ / √r) k over the keys in the mask, which are the values as well: [B, Lq, r], [B, Lk, r] and bool
    [B, Lk] -> [B, Lq, r]; zeros for a sample without any key."""
    seen = key_mask.unsqueeze(1)
    without = ~seen.any(2, keepdim=True)
    # Of one head: then no [Lq, Lk] need be kept. Over no key at all softmax is no number.
    read = F.scaled_dot_product_attention(
        queries.unsqueeze(1), keys.unsqueeze(1), keys.unsqueeze(1), attn_mask=(seen | without).unsqueeze(1)
    )
    return read.squeeze(1).masked_fill(without, 0)


def moka_delta(
    x: Tensor,
    modality_ids: Tensor,
    key_mask: Tensor,
    a_weights: list[Tensor],
    b_weight: Tensor,
    scaling: float = 1.0,
    lambda_: float | Sequence[float] = 1.0,
    text_id: int = 0,
    scale_before_attention: bool = False,
) -> Tensor:
    """B u'_l, with u'_l = u_l + λ_m att_l, and u'_l = u_l for text: what is added to W₀ x, [B, L, D] -> [B, L, D_out].

    x: after dropout. modality_ids, a_weights: as for :func:`low_rank_tokens`. key_mask: bool [B, L], the tokens that
    are attended to, of which padding never is one. b_weight: [D_out, r]. scaling: α/r, a factor of the result; or with
    scale_before_attention of every u_l. lambda_: one number, or one for each modality, where that of text says nothing.
    text_id: the modality that is attended to and does not attend. Padding becomes zeros."""
    tokens = low_rank_tokens(x, modality_ids, a_weights)
    if scale_before_attention:
        tokens = tokens * scaling
    strengths = [lambda_] * len(a_weights) if isinstance(lambda_, float | int) else list(lambda_)
    attending = {m: strength for m, strength in enumerate(strengths) if m != text_id and strength}
    if attending:
        own = torch.zeros_like(tokens[..., :1])
        for m, strength in attending.items():
            own = own.masked_fill((modality_ids == m).unsqueeze(2), strength)
        keys = key_mask & (modality_ids >= 0)
        reads, read = _extent(own.squeeze(2) != 0), _extent(keys)
        found = own[:, reads] * cross_attend(tokens[:, reads], tokens[:, read], keys[:, read])
        tokens = tokens + F.pad(found, (0, 0, reads.start, tokens.shape[1] - reads.stop))
    return F.linear(tokens if scale_before_attention else tokens * scaling, b_weight)


def _extent(mask: Tensor) -> slice:
    """Bound the places of [B, L] that are true in any sample, so that attention is not over what neither reads nor is
    read; on an accelerator, where a look at them holds up every step, those are all."""
    if mask.device.type != "cpu":
        return slice(0, mask.shape[1])
    found = mask.any(0).nonzero()
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0)
