from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.media_files import serve, write_tokenizer

from data.base import DataError
from data.media import MediaError
from data.media.text import encode
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
