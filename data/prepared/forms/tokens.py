"""Text as token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.base import SampleType
from data.media.text import encode, padding, require_tokenizer
from data.prepared.forms.base import Arrays, Form, Stored
from data.prepared.forms.columns import ArrayColumn, Device
from data.prepared.lists.items import Medium, SplitName


@dataclass(frozen=True, kw_only=True)
class Tokens(Form):
    """The text itself, served as int64 [2, length]: token ids, and the attention mask (1 = real token, 0 = padding
    behind them). tokenizer: ``bytes`` or ``words`` (built in), a local folder or a name known to transformers; length:
    at most, special tokens included.

    pair: the medium is two texts with a tab between them, which the tokenizer joins as it joins pairs. A text of no
    token at all counts as one padding token, as attention over nothing is undefined."""

    tokenizer: str
    length: int
    special_tokens: bool = True
    pair: bool = False

    def require(self) -> None:
        require_tokenizer(self.tokenizer)

    def sample(self) -> SampleType:
        return SampleType((2, self.length), tokens=True)

    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        return {"ids": Stored("int32", (self.length,)), "count": Stored("int32", (1,))}

    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        assert isinstance(medium, str)
        text, second = medium, None
        if self.pair:
            text, _, second = medium.partition("\t")
        found = encode(self.tokenizer, text, self.length, self.special_tokens, second)
        ids = np.full(self.length, padding(self.tokenizer), np.int32)
        ids[: len(found)] = found
        return {"ids": ids, "count": np.array([max(1, len(found))], np.int32)}

    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> TokensColumn:
        return TokensColumn(self, arrays, rows, split == "train", self.sample().shape)


@dataclass(frozen=True, eq=False)
class TokensColumn(ArrayColumn[Tokens]):
    """Serves :class:`Tokens`."""

    def gather(self, index: Tensor, device: Device) -> Tensor:
        ids = self.take("ids", device, index).long()
        real = torch.arange(self.form.length, device=ids.device) < self.take("count", device, index)
        return torch.stack([ids, real.long()], 1)
