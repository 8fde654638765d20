"""Built-in tokenizers give the same ids on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.base import DataError
from data.media import MediaError, text
from data.media.text import BUILT_IN, encode, load_tokenizer, padding, require_tokenizer


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


# Tokenizers of folders and of the hub -----------------------------------------------------------------------------


class Library:
    """transformers, which has the tokenizers that are named in its cache and in its hub."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cached: str = "", hub: str = "", answers: bool = True) -> None:
        from transformers import AutoTokenizer

        self.asked, self._cached, self._hub = list[tuple[str, bool]](), cached, hub
        monkeypatch.setattr(AutoTokenizer, "from_pretrained", self._load)
        monkeypatch.setattr(text, "_hub_answers", lambda: answers)

    def _load(self, name: str, local_files_only: bool = False) -> str:
        self.asked.append((name, local_files_only))
        if name == (self._cached if local_files_only else self._hub):
            return f"tokenizer of {name}"
        raise OSError("not here")


@pytest.fixture(autouse=True)
def nothing_loaded() -> Iterator[None]:
    load_tokenizer.cache_clear()
    yield
    load_tokenizer.cache_clear()


def test_what_is_on_the_machine_is_not_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(monkeypatch, cached="some/bert", hub="some/bert")
    assert [load_tokenizer("some/bert") for _ in range(2)] == ["tokenizer of some/bert"] * 2
    assert library.asked == [("some/bert", True)]


def test_a_name_of_the_hub_is_fetched_where_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(monkeypatch, hub="some/bert")
    assert load_tokenizer("some/bert") == "tokenizer of some/bert"
    assert library.asked == [("some/bert", True), ("some/bert", False)]


@pytest.mark.parametrize("name", ["./some/bert", "some/bert/of/mine", "here", "some/bert"])
def test_what_is_no_name_or_a_folder_is_not_asked_of_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    library = Library(monkeypatch, hub=name, answers=name != "some/bert")
    with pytest.raises(DataError, match=rf"tokenizer '{name}': neither a local folder .*built-in ones: bytes, words$"):
        load_tokenizer(name)
    assert library.asked == [(name, True)]


def test_a_name_that_the_hub_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    library: Any = Library(monkeypatch, hub="other")
    with pytest.raises(DataError, match="nor to be had from the hub here"):
        load_tokenizer("some/bert")
    assert library.asked == [("some/bert", True), ("some/bert", False)]
