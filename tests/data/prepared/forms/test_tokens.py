from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import pytest
import torch
from support.media_files import serve, write_tokenizer

from data.base import DataError
from data.media import MediaError, text
from data.media.text import BUILT_IN, encode
from data.prepared.forms import Tokens

WORDS = ("a", "fine", "day", "for", "sail", "##ing", "t")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tokenizer(tmp_path_factory.mktemp("tokens") / "bert", WORDS))


def served(form: Tokens, text: str, folder: Path) -> list[list[int]]:
    column = serve(form, [text], "train", folder)
    assert column.shape == (2, form.length)
    batch = column.gather(torch.tensor([0]), "cpu")
    assert batch.dtype == torch.int64
    return batch[0].tolist()


def test_ids_and_attention_mask(tmp_path: Path, tokenizer: str) -> None:
    form = Tokens(tokenizer=tokenizer, length=8)
    assert served(form, "A fine day", tmp_path) == [[2, 5, 6, 7, 3, 0, 0, 0], [1, 1, 1, 1, 1, 0, 0, 0]]
    bare = Tokens(tokenizer=tokenizer, length=4, special_tokens=False)
    assert served(bare, "sailing hence", tmp_path) == [[9, 10, 1, 0], [1, 1, 1, 0]]


def test_long_texts_are_really_cut(tmp_path: Path, tokenizer: str) -> None:
    long = " ".join(["a fine day for sailing"] * 400)
    assert served(Tokens(tokenizer=tokenizer, length=5), long, tmp_path) == [[2, 5, 6, 7, 3], [1] * 5]
    assert served(Tokens(tokenizer=tokenizer, length=5, special_tokens=False), long, tmp_path) == [
        [5, 6, 7, 8, 9],
        [1] * 5,
    ]


def test_pairs_are_joined_as_the_tokenizer_joins_them(tmp_path: Path, tokenizer: str) -> None:
    form = Tokens(tokenizer=tokenizer, length=8, pair=True)
    assert served(form, "a day\tfor sail", tmp_path) == [[2, 5, 7, 3, 8, 9, 3, 0], [1] * 7 + [0]]
    assert served(form, "a fine day for sail\tt", tmp_path)[0] == [2, 5, 6, 7, 8, 3, 11, 3]


def test_a_text_of_nothing_still_has_something_to_attend_to(tmp_path: Path, tokenizer: str) -> None:
    assert served(Tokens(tokenizer=tokenizer, length=3), "", tmp_path) == [[2, 3, 0], [1, 1, 0]]
    bare = Tokens(tokenizer=tokenizer, length=3, special_tokens=False)
    assert served(bare, "", tmp_path) == [[0, 0, 0], [1, 0, 0]]


def test_training_and_evaluation_agree(tmp_path: Path, tokenizer: str) -> None:
    column = serve(Tokens(tokenizer=tokenizer, length=6), ["a", "fine day"], "train", tmp_path)
    index = torch.tensor([1, 0, 1])
    expected = column.gather(index, "cpu")
    assert torch.equal(column.draw(index, "cpu", torch.Generator()), expected)
    assert torch.equal(column.resident("cpu").gather(index, "cpu"), expected)


def test_text_that_is_no_unicode_is_refused(tokenizer: str) -> None:
    with pytest.raises(MediaError, match=r"caf\\udce9.*no valid Unicode; save the list as UTF-8"):
        encode(tokenizer, b"caf\xe9".decode(errors="surrogateescape"), 8)


def test_a_missing_tokenizer_is_named_with_the_remedy(tmp_path: Path) -> None:
    for name in (str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(DataError, match=r"tokenizer '.*': neither a local folder.*give the path of a local folder"):
            encode(name, "a", 8)


# Built-in tokenizers --------------------------------------------------------------------------------------------------


def test_bytes_are_numbered_behind_the_special_tokens(tmp_path: Path) -> None:
    form = Tokens(tokenizer="bytes", length=6)
    assert served(form, "A\u00e9", tmp_path) == [[1, 3 + 65, 3 + 0xC3, 3 + 0xA9, 2, 0], [1, 1, 1, 1, 1, 0]]
    assert encode("bytes", "abc", 3) == [1, 3 + 97, 2]
    assert encode("bytes", "abc", 2, special_tokens=False) == [3 + 97, 3 + 98]
    assert encode("bytes", "", 4, special_tokens=False) == []
    assert encode("bytes", "a", 1) == [1]


def test_words_have_the_id_of_their_hash_in_every_text() -> None:
    start, good, day, stop, end = encode("words", "Good  day!", 9)
    assert (start, end) == (1, 2)
    assert encode("words", "good GOOD day", 9, special_tokens=False) == [good, good, day]
    assert good == 3 + int.from_bytes(hashlib.blake2b(b"good", digest_size=8).digest()) % 16381
    assert encode("words", "\uff01", 9, special_tokens=False) == [stop]  # an exclamation mark of full width
    assert all(3 <= token < BUILT_IN["words"] for token in encode("words", "a b c d e f", 9, special_tokens=False))


def test_of_a_pair_the_longer_half_is_cut() -> None:
    ids = [3 + ord(letter) for letter in "abcdxy"]
    assert encode("bytes", "abcd", 8, second="xy") == [1, *ids[:3], 2, *ids[4:], 2]
    assert encode("bytes", "xy", 8, second="abcd") == [1, *ids[4:], 2, *ids[:3], 2]
    assert encode("bytes", "abcd", 2, special_tokens=False, second="xyxy") == [ids[0], ids[4]]


def test_a_built_in_tokenizer_needs_nothing_and_another_is_looked_for_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def refuse(request: Request, timeout: float) -> None:
        asked.append(request.full_url)
        raise URLError("no network")

    monkeypatch.setattr(text, "urlopen", refuse)
    for name in BUILT_IN:
        Tokens(tokenizer=name, length=4).require()
    assert asked == []
    with pytest.raises(
        DataError, match=r"tokenizer 'no-such/tokenizer': neither .*take one of the built-in ones: bytes, words"
    ):
        Tokens(tokenizer="no-such/tokenizer", length=4).require()
    assert len(asked) == 1
