"""What text encoders take: token ids and attention mask in one tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.encoders.base import Encoder, Shape

TAKES = "[2, L]: the ids of L tokens, and their attention mask (1 = real token)"


class TextEncoder(Encoder):
    """Base of the encoders of tokens: samples int64 [2, L], ids and attention mask (1 = real token)."""

    reads_tokens = True

    def __init__(self, shape: Shape, options: Any) -> None:
        """options: with ``vocabulary``, and ``positions`` where the network has them for so many tokens alone. Raises
        ShapeError for a shape that is no text."""
        super().__init__()
        self.require(shape, options)
        self.vocabulary: int = options.vocabulary
        self._looked_at = False

    @classmethod
    def fits(cls, shape: Shape, options: Any) -> bool:
        return len(shape) == 2 and shape[0] == 2 and 1 <= shape[1] <= getattr(options, "positions", shape[1])

    @classmethod
    def takes(cls, options: Any) -> str:
        most = getattr(options, "positions", None)
        return TAKES + (f", L of at most {most}" if most else "")

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 2, L] -> ids int64 [B, L], 0 where there is no token, and mask bool [B, L]. Raises ValueError for an id
        that is not in the vocabulary."""
        ids, mask = x.long().unbind(1)
        mask = mask.bool()
        ids = ids * mask
        # On an accelerator a look at the ids holds up every step: there the first batch stands for all.
        if len(x) and not (x.is_meta or (self._looked_at and x.device.type != "cpu")):
            self._looked_at = True
            low, high = (int(value) for value in torch.aminmax(ids))
            if low < 0 or high >= self.vocabulary:
                raise ValueError(
                    f"encoder {self.name}: token id {low if low < 0 else high} is outside its vocabulary of "
                    f"{self.vocabulary}; the tokenizer of the data and the encoder's pretrained weights (or its "
                    "option vocabulary) must belong together"
                )
        return ids, mask


def pairs(mask: Tensor, causal: bool = False) -> Tensor:
    """Tell which token attends to which, bool [B, 1, L, L], of the mask of those that are attended to, bool [B, L].
    causal: none attends to those behind it. The library takes such a mask as it is; a smaller one it first reads on
    the host, which holds up every step on an accelerator."""
    length = mask.shape[1]
    each = mask[:, None, None, :].expand(-1, 1, length, -1)
    return each & torch.ones(length, length, dtype=torch.bool, device=mask.device).tril() if causal else each


def never_empty(mask: Tensor) -> Tensor:
    """Give rows of ``mask``, bool [B, L], that have no token a first one: attention over nothing is not a number."""
    return torch.cat([mask[:, :1] | ~mask.any(1, keepdim=True), mask[:, 1:]], dim=1)
