"""Built-in tokenizers give the same ids on every machine."""

from __future__ import annotations

import pytest

from data.media import MediaError
from data.media.text import BUILT_IN, encode, padding, require_tokenizer


def test_bytes_are_numbered_from_three() -> None:
    assert encode("bytes", "a\u00e9", 8) == [1, 3 + 0x61, 3 + 0xC3, 3 + 0xA9, 2]
    assert encode("bytes", "a\u00e9", 8, special_tokens=False) == [100, 198, 172]
    assert BUILT_IN == {"bytes": 3 + 256, "words": 16384}
    assert (padding("bytes"), padding("words")) == (0, 0)
    require_tokenizer("bytes")


def test_words_and_signs_are_numbered_by_their_hash() -> None:
    ids = encode("words", "A fine day, a FINE \uff44ay!", 20, special_tokens=False)
    a, fine, day, comma, *rest = ids
    assert rest == [a, fine, day, rest[-1]]
    assert [a, fine, day, comma, rest[-1]] == [11770, 11978, 1202, 14642, 10057]
    assert all(3 <= token < 16384 for token in ids)


@pytest.mark.parametrize(
    ("length", "first", "second", "expected"),
    [
        (9, "abcd", "xy", "<abcd>xy>"),
        (8, "abcd", "xy", "<abc>xy>"),
        (7, "abcd", "xy", "<ab>xy>"),
        (6, "abcd", "xy", "<a>xy>"),  # of equally long halves the first is cut
        (5, "ab", "wxyz", "<a>w>"),
        (3, "ab", "xy", "<>>"),
        (2, "ab", "xy", "<>"),
        (4, "abcd", None, "<ab>"),
        (6, "abcd", None, "<abcd>"),
        (1, "abcd", None, "<"),
    ],
)
def test_the_longer_half_is_cut_and_the_marks_stay(length: int, first: str, second: str | None, expected: str) -> None:
    marks = {"<": 1, ">": 2}
    assert encode("bytes", first, length, second=second) == [marks.get(sign, 3 + ord(sign)) for sign in expected]


def test_without_marks_all_places_are_for_the_text() -> None:
    assert encode("bytes", "abc", 4, special_tokens=False, second="xy") == [3 + ord(sign) for sign in "abxy"]
    assert encode("bytes", "", 4, special_tokens=False) == []


def test_text_that_is_no_unicode_is_named_by_its_beginning() -> None:
    with pytest.raises(MediaError, match=r"^'x{39}\\udce9': no valid Unicode; save the list as UTF-8$"):
        encode("bytes", "x" * 39 + "\udce9" + "y" * 10, 8)
    with pytest.raises(MediaError, match="no valid Unicode"):
        encode("bytes", "x", 8, second="\udce9")
