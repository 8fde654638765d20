"""What the official loaders make of a text before it is tokenised."""

from __future__ import annotations

import re

_DROPPED = str.maketrans("-/", "  ", ",.'!?\"()*#:;~")


def plain_words(text: str, most: int) -> str:
    """Give the first ``most`` words, lower-cased, without punctuation."""
    return " ".join(text.lower().translate(_DROPPED).split()[:most])


def letter_words(text: str, most: int) -> str:
    """Give the words of :func:`plain_words` that are nothing but letters: "$T$" becomes "t", "4you" goes."""
    return plain_words(" ".join(re.findall(r"\b[A-Za-z]+\b", text)), most)
