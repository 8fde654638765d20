"""Tweets with an image: the profiles that Twitter2015 and the sarcasm tweets share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from data.prepared import Form
from data.prepared.forms import Image, Tokens
from data.prepared.source import PreparedOptions

BERT = "google-bert/bert-base-uncased"
CLIP = "openai/clip-vit-base-patch16"
AUGMENTED = Image(normalise="clip", crop_scale=(0.5, 1.0), randaugment=True, grey_if_unreadable=True)
"""Of BSS and IGM: random resized crop, flip and RandAugment in training; mean and deviation of CLIP."""
AS_IT_IS = Image(stored_size=224, crop_scale=None, flip=False, grey_if_unreadable=True)
"""Of AMSS: 224 x 224 without augmentation (mean and deviation of ImageNet, not of the data set)."""


class TweetOptions(PreparedOptions):
    """Options of the sets of tweets."""

    lists: str | None = Field(None, min_length=1, description="folder of the lists (null: in root)")
    profile: Literal["plain", "bss", "igm", "amss", "clip"] = Field(
        "plain",
        description="plain: 50 word pieces of the text as it is; bss, igm, amss: as those codes; clip: 77 pieces",
    )
    tokenizer: str | None = Field(None, min_length=1, description="hub name or local folder (null: the profile's)")


@dataclass(frozen=True)
class TweetProfile:
    """How a tweet and its image become inputs. words: what is kept of the text before it is tokenised."""

    image: Image = AUGMENTED
    length: int = 50
    special_tokens: bool = True
    tokenizer: str = BERT
    words: Callable[[str], str] = str
    encoders: Mapping[str, Any] = field(default_factory=lambda: {"text": "bert", "image": "resnet50"})

    def forms(self, options: TweetOptions, pair: bool = False) -> dict[str, Form]:
        """Give the forms of ``text`` and ``image``; pair: the text has two parts."""
        tokens = Tokens(
            tokenizer=options.tokenizer or self.tokenizer,
            length=self.length,
            special_tokens=self.special_tokens,
            pair=pair,
        )
        return {"text": tokens, "image": self.image}
