"""Texts as the official loaders cut them."""

from __future__ import annotations

from data.prepared.lists.words import letter_words, plain_words


def test_words_of_the_official_loaders() -> None:
    text = "RT @ Bob's well-known: $T$ (4you) is #great/good ~ 100 %"
    assert plain_words(text, 50) == "rt @ bobs well known $t$ 4you is great good 100 %"
    assert plain_words(text, 3) == "rt @ bobs"
    assert letter_words(text, 50) == "rt bob s well known t is great good"
    assert letter_words("100 %", 50) == ""
