"""Text as token ids, by the tokenizers of transformers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from data.base import DataError
from data.media import MediaError


@lru_cache(maxsize=4)
def load_tokenizer(name: str) -> Any:
    """Load the tokenizer in the local folder ``name``, or of that name in transformers' cache or hub.

    Raises DataError (no sample is at fault) where there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise DataError(
            f"tokenizer {name!r}: neither a local folder with a tokenizer nor to be had from the hub here; give the "
            "path of a local folder (what `save_pretrained` writes: tokenizer.json, tokenizer_config.json)"
        ) from error


def encode(tokenizer: str, text: str, length: int, special_tokens: bool = True, second: str | None = None) -> list[int]:
    """Encode into at most ``length`` token ids, really cut there, special tokens included; ``second`` is the other half
    of a pair (the longer half is cut).

    Raises MediaError for text that is no valid Unicode, DataError for a missing tokenizer."""
    try:
        f"{text}{second}".encode()
    except UnicodeEncodeError as error:
        raise MediaError(ascii(text[:40]), "no valid Unicode; save the list as UTF-8") from error
    found = load_tokenizer(tokenizer)(
        text, second, truncation=True, max_length=length, add_special_tokens=special_tokens, verbose=False
    )
    return list(found["input_ids"])


def padding(tokenizer: str) -> int:
    """Give the id that fills a sequence up: the tokenizer's own, 0 where it has none."""
    return load_tokenizer(tokenizer).pad_token_id or 0
