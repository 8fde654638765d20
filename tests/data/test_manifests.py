from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from data.base import DataError
from data.prepared.carving import carve, hold_out
from data.prepared.manifests import (
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
from data.prepared.words import letter_words, plain_words

PAIR = ("stem", "label")


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# Lines ----------------------------------------------------------------------------------------------------------------


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
        (b"\xff\xfea\x00,\x001\x00", r"list\.csv, line 1: byte 0xff is not UTF-8"),
        (b"", r"list\.csv: the file is empty"),
        (b"\n\r\n", r"list\.csv: no rows"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS pointer.*run `git lfs pull`"),
    ],
)
def test_a_list_out_of_form_is_refused_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(write(tmp_path / "list.csv", content), PAIR)


# Values ---------------------------------------------------------------------------------------------------------------


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


# Where lists lie ------------------------------------------------------------------------------------------------------


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


# Validation -----------------------------------------------------------------------------------------------------------


def rows(count: int, classes: int, groups: int = 0) -> list[Row]:
    return [Row(f"s{i:04d}", i % classes, "", f"g{i % groups}" if groups else "") for i in range(count)]


def ids(part: list[Row]) -> set[str]:
    return {row.id for row in part}


def test_carving_takes_its_share_of_each_class() -> None:
    everything = [*rows(300, 3), Row("lonely", 3, ""), Row("rare a", 4, ""), Row("rare b", 4, "")]
    train, validation = carve(everything, 0.1, 0)
    assert Counter(row.label for row in validation) == {0: 10, 1: 10, 2: 10, 4: 1}
    assert ids(train) | ids(validation) == ids(everything)
    assert not ids(train) & ids(validation)
    assert "lonely" in ids(train)
    assert train == [row for row in everything if row in train]


def test_carving_depends_on_the_samples_and_the_seed_not_on_their_order() -> None:
    everything = rows(200, 4, 90)
    chosen = ids(carve(everything, 0.1, 0)[1])
    assert ids(carve(everything[::-1], 0.1, 0)[1]) == chosen
    assert ids(carve(everything, 0.1, 1)[1]) != chosen
    assert sorted(ids(carve(rows(20, 2), 0.1, 0)[1])) == ["s0007", "s0014"]


def test_carving_never_parts_a_group() -> None:
    everything = [Row(f"s{i:03d}", i % 4, "", f"g{(i // 4) % 120 if i % 4 else i}") for i in range(800)]
    train, validation = carve(everything, 0.1, 0)
    assert not {row.group for row in train} & {row.group for row in validation}
    wanted = Counter(row.label for row in everything)
    taken = Counter(row.label for row in validation)
    assert all(0.09 * wanted[label] <= taken[label] <= 0.11 * wanted[label] for label in wanted)


def test_carving_large_groups_comes_near_the_share() -> None:
    sizes = [(7 * group % 31 + 8, group) for group in range(100)]
    everything = [
        Row(f"g{group:02d}-{i:02d}", (group + i * i) % 4, "", f"g{group}") for size, group in sizes for i in range(size)
    ]
    train, validation = carve(everything, 0.1, 0)
    assert not {row.group for row in train} & {row.group for row in validation}
    wanted, taken = (Counter(row.label for row in part) for part in (everything, validation))
    assert all(0.08 * wanted[label] <= taken[label] <= 0.12 * wanted[label] for label in wanted)


def test_carving_leaves_something_of_each_class_to_train_on() -> None:
    two = [Row("a1", 0, "", "a"), Row("a2", 1, "", "a"), Row("b1", 0, "", "b"), Row("b2", 1, "", "b")]
    assert {row.group for row in carve(two, 0.1, 0)[0]} in ({"a"}, {"b"})
    one = [Row("a1", 0, "", "a"), Row("a2", 1, "", "a"), Row("b1", 0, "", "b")]
    train, validation = carve(one, 0.1, 0)
    assert (ids(train), ids(validation)) == ({"a1", "a2"}, {"b1"})


def test_whole_subjects_are_held_out_as_few_as_reach_the_share() -> None:
    everything = rows(280, 7, 20)
    train, validation = hold_out(everything, 0.1, 0)
    assert len({row.group for row in validation}) == 2
    assert not {row.group for row in train} & {row.group for row in validation}
    assert {row.label for row in train} == {row.label for row in validation} == set(range(7))
    assert ids(hold_out(everything[::-1], 0.1, 0)[1]) == ids(validation)
    draws = {tuple(sorted(ids(hold_out(everything, 0.1, seed)[1]))) for seed in range(5)}
    assert len(draws) > 1
    assert ids(hold_out(everything, 0.1, 0, "test")[1]) != ids(validation)


def test_more_subjects_are_held_out_where_few_lack_a_class() -> None:
    uneven = [Row(f"s{i}-{c}", c, "", f"g{i}") for i in range(10) for c in range(4) if (i + c) % 2]
    train, validation = hold_out(uneven, 0.1, 0)
    assert len({row.group for row in validation}) == 2
    assert {row.label for row in train} == {row.label for row in validation} == set(range(4))
    alone = [Row("a", 0, "", "g1"), Row("b", 1, "", "g2"), Row("c", 0, "", "g3")]
    with pytest.raises(DataError, match=r"validation: no choice of whole groups holds out 10%.*3 groups, 2 classes"):
        hold_out(alone, 0.1, 0)


# Words ----------------------------------------------------------------------------------------------------------------


def test_words_of_the_official_loaders() -> None:
    text = "RT @ Bob's well-known: $T$ (4you) is #great/good ~ 100 %"
    assert plain_words(text, 50) == "rt @ bobs well known $t$ 4you is great good 100 %"
    assert plain_words(text, 3) == "rt @ bobs"
    assert letter_words(text, 50) == "rt bob s well known t is great good"
    assert letter_words("100 %", 50) == ""
