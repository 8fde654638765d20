"""Text as token ids: by the tokenizers of transformers, or by two built-in ones that need no file.

``bytes``: the bytes of the text in UTF-8. ``words``: words and signs, each with the id that its hash gives; as nothing
is learnt from a list, the same word has the same id in every list. Two words may share an id (Weinberger et al.,
"Feature hashing for large scale multitask learning", ICML 2009): of a thousand words about sixty do."""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from data.base import DataError
from data.media import MediaError

BUILT_IN: Mapping[str, int] = {"bytes": 259, "words": 16384}
"""Built-in tokenizer -> number of its ids: padding 0, start 1, end of a text 2, then bytes or words."""
_START, _END, _FIRST = 1, 2, 3
_WORD = re.compile(r"\w+|[^\w\s]")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PATIENCE = 3.0
"""Seconds that the hub has to answer."""


@lru_cache(maxsize=4)
def load_tokenizer(name: str) -> Any:
    """Load the tokenizer in the local folder ``name``, or of that name in transformers' cache or hub, which is asked
    once, for a few seconds.

    Raises DataError (no sample is at fault) where there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError) as error:
        failed = error
    if _HUB_NAME.fullmatch(name) and not Path(name).exists() and _hub_answers():
        try:
            return AutoTokenizer.from_pretrained(name)
        except (OSError, ValueError) as error:
            failed = error
    raise DataError(
        f"tokenizer {name!r}: neither a local folder with a tokenizer nor to be had from the hub here; give the "
        "path of a local folder (what `save_pretrained` writes: tokenizer.json, tokenizer_config.json), or take one of "
        f"the built-in ones: {', '.join(BUILT_IN)}"
    ) from failed


def _hub_answers() -> bool:
    """Tell whether the hub answers within a few seconds. The library itself would try for more than a minute."""
    from huggingface_hub import constants

    answered = threading.Event()

    def ask() -> None:
        try:
            urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=_PATIENCE).close()
        except HTTPError:
            answered.set()  # that there is no such page is an answer, too
        except OSError:
            return
        answered.set()

    if not constants.HF_HUB_OFFLINE:
        # In a thread, as no time limit holds for the look-up of the hub's address.
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(_PATIENCE)
    return answered.is_set()


def require_tokenizer(name: str) -> None:
    """Check that there is such a tokenizer. Raises DataError."""
    if name not in BUILT_IN:
        load_tokenizer(name)


def encode(tokenizer: str, text: str, length: int, special_tokens: bool = True, second: str | None = None) -> list[int]:
    """Encode into at most ``length`` token ids, really cut there, special tokens included; ``second`` is the other half
    of a pair (the longer half is cut).

    Raises MediaError for text that is no valid Unicode, DataError for a missing tokenizer."""
    try:
        f"{text}{second}".encode()
    except UnicodeEncodeError as error:
        raise MediaError(ascii(text[:40]), "no valid Unicode; save the list as UTF-8") from error
    if tokenizer in BUILT_IN:
        return _built_in(tokenizer, text, length, special_tokens, second)
    found = load_tokenizer(tokenizer)(
        text, second, truncation=True, max_length=length, add_special_tokens=special_tokens, verbose=False
    )
    return list(found["input_ids"])


def padding(tokenizer: str) -> int:
    """Give the id that fills a sequence up: the tokenizer's own, 0 where it has none."""
    return 0 if tokenizer in BUILT_IN else load_tokenizer(tokenizer).pad_token_id or 0


def _built_in(tokenizer: str, text: str, length: int, special_tokens: bool, second: str | None) -> list[int]:
    ids = _byte_ids if tokenizer == "bytes" else _word_ids
    texts = [half for half in (text, second) if half is not None]
    room = max(0, length - (1 + len(texts) if special_tokens else 0))
    halves = [ids(half)[:room] for half in texts]
    while sum(map(len, halves)) > room:
        max(halves, key=len).pop()
    if not special_tokens:
        return [token for half in halves for token in half]
    return [_START, *(token for half in halves for token in (*half, _END))][:length]


def _byte_ids(text: str) -> list[int]:
    return [_FIRST + byte for byte in text.encode()]


def _word_ids(text: str) -> list[int]:
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return [_FIRST + _hash(word) % (BUILT_IN["words"] - _FIRST) for word in words]


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
