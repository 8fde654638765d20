"""Lists are read row by row, every mistake with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from data.base import DataError
from data.prepared.lists.rows import (
    Lists,
    Row,
    class_name,
    class_number,
    number,
    read_lines,
    read_table,
    refuse_repeats,
    tabs,
)

PAIR = ("stem", "label")


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content", [b"a,1\nb,2\n", b"a,1\r\nb,2\r\n", b"\xef\xbb\xbfa,1\r\n\r\nb,2", b" a , 1\n\nb,2\n\n"]
)
def test_a_table_is_the_same_with_any_ends_of_lines_and_a_byte_order_mark(tmp_path: Path, content: bytes) -> None:
    lines = read_table(write(tmp_path / "list.csv", content), PAIR)
    assert [line.fields for line in lines] == [("a", "1"), ("b", "2")]
    assert lines[0].where == f"{tmp_path / 'list.csv'}, line 1"


def test_places_count_blank_lines_and_no_other_separators(tmp_path: Path) -> None:
    path = write(tmp_path / "list.txt", "a\u2028b\x85c\n\n\nd\r\n")
    assert list(read_lines(path)) == [(f"{path}, line 1", "a\u2028b\x85c"), (f"{path}, line 4", "d")]


def test_quoted_fields_hold_commas_and_tabbed_ones_quotation_marks(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", '"bird chirping, tweeting",1\n"say ""hi""",2\n')
    assert [line.fields for line in read_table(path, PAIR)] == [("bird chirping, tweeting", "1"), ('say "hi"', "2")]
    path = write(tmp_path / "list.tsv", '"open\t1\n')
    assert read_table(path, PAIR, split=tabs)[0].fields == ('"open', "1")


def test_a_header_is_skipped_on_the_first_line_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "stem,label\na,1\nstem,label\n")
    lines = read_table(path, PAIR, header=lambda fields: fields[1] == "label")
    assert [line.fields[0] for line in lines] == ["a", "stem"]
    assert lines[0].where.endswith("line 2")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,1\nb\n", r"list\.csv, line 2: 1 column, expected 2 \(stem, label\)"),
        (b"a,1,x\n", r"list\.csv, line 1: 3 columns, expected 2 \(stem, label\)"),
        (b'a,1\n\nb,"2\n', r"list\.csv, line 3: not comma-separated .*must be closed"),
        (b"a,1\nb,\xe9\n", r"list\.csv, line 2: byte 0xe9 is not UTF-8; convert the file.*iconv"),
        (b"\xff\xfea\x00,\x001\x00", r"list\.csv, line 1: byte 0xff is not UTF-8.* iconv -f UTF-16"),
        (b"", r"list\.csv: the file is empty"),
        (b"\n\r\n", r"list\.csv: no rows"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer.*run `git lfs pull`"),
    ],
)
def test_a_list_out_of_form_is_refused_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path / "list.csv", content), PAIR)


def test_labels_by_number() -> None:
    assert class_number("24", 25, "here") == 24
    assert class_number("25", 25, "here", first=1) == 24
    for text, first, message in [
        ("25", 0, "here: label 25 is out of range; labels go from 0 to 24"),
        ("0", 1, "here: label 0 is out of range; labels go from 1 to 25"),
        ("-1", 0, "here: label '-1' is not a whole number"),
        ("", 0, "here: label '' is not a whole number"),
        ("²", 0, "here: label '²' is not a whole number"),
    ]:
        with pytest.raises(DataError, match=re.escape(message)):
            class_number(text, 25, "here", first)
    assert number("000012", "here", "start") == 12


def test_labels_by_name() -> None:
    assert class_name("HAP", ("NEU", "HAP"), "here") == 1
    with pytest.raises(DataError, match=r"here: unknown label 'HAPP'; did you mean 'HAP'\?"):
        class_name("HAPP", ("NEU", "HAP"), "here")
    with pytest.raises(DataError, match=r"here: unknown label '7'; there are: NEU, HAP$"):
        class_name("7", ("NEU", "HAP"), "here")
    with pytest.raises(DataError, match=r"there are: class a, .*, \.\.\.$"):
        class_name("7", [f"class {letter}" for letter in "abcdefghijklmnop"], "here")


def test_a_sample_listed_twice_is_refused_with_both_places() -> None:
    refuse_repeats([Row("a", 0, "x, line 1"), Row("b", 0, "x, line 2")])
    with pytest.raises(DataError, match="y, line 9: a stands also in x, line 1; a sample may appear once"):
        refuse_repeats([Row("a", 0, "x, line 1"), Row("b", 0, "x, line 2"), Row("a", 1, "y, line 9")])


def test_lists_are_found_where_they_usually_lie_or_where_the_user_says(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for folder in (tmp_path / "annotations", own):
        folder.mkdir()
        write(folder / "test.csv", "a")
    lists = Lists.under(tmp_path, None, ("", "annotations"), "owner/name, data")
    assert lists.need("train.csv", "test.csv") == tmp_path / "annotations" / "test.csv"
    assert lists.find("val.csv") is None
    assert Lists.under(tmp_path, str(own), ("",), "owner/name").need("test.csv") == own / "test.csv"
    with pytest.raises(DataError) as caught:
        lists.need("my_train.csv", "train.csv")
    assert str(caught.value) == (
        f"no file my_train.csv or train.csv; looked in {tmp_path}, {tmp_path}/annotations. The lists come from "
        "owner/name, data: copy them there, or set `lists` to their folder"
    )
    with pytest.raises(DataError, match="gone: no such folder; set `lists`"):
        Lists.under(tmp_path, str(tmp_path / "gone"), (), "owner/name")
