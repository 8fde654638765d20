import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.config import yaml_lines
from sweep.config.problems import ConfigError, Place, Problem, dotted_key, nearest
from sweep.config.yaml_lines import LocatedMapping, dump, parse, read

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn", "Zl", "Zp"]) | st.sampled_from("\n\t"))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def value(text):
    return parse(text, lambda path, line: Place("f", line, dotted_key(path)))[0]


def error(text):
    with pytest.raises(ConfigError) as caught:
        value(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 1e-4),
        ("1e-15", 1e-15),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("+3", 3),
        ("-0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("off", "off"),
        ("12:30:45", "12:30:45"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("{a: [1, {b: ~}]}", {"a": [1, {"b": None}]}),
        ("[&x [1], *x]", [[1], [1]]),
    ],
)
def test_scalars_follow_yaml_1_2(text, expected):
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@given(st.dictionaries(TEXTS, PLAIN, max_size=3))
def test_what_is_dumped_is_read_back_alike(values):
    found = value(dump(values))
    assert found == values
    assert repr(found) == repr(values)  # 1 stays 1, 1.0 stays 1.0, true stays true


def test_every_value_knows_its_line():
    _, places = parse(
        "a:\n  b: 1\n  c:\n    - 2\n    - {d: 3}\n", lambda path, line: Place("f", line, dotted_key(path))
    )
    lines = {place.key: place.line for place in places.values()}
    assert lines == {"": 1, "a": 1, "a.b": 2, "a.c": 3, "a.c[0]": 4, "a.c[1]": 5, "a.c[1].d": 5}


def test_all_mistakes_of_reading_are_named_at_once():
    text = "a: .nan\nb: {c: 1, c: 2}\n3: x\nd: !!set {e}\n"
    assert error(text).splitlines() == [
        "f:1: a: .nan is not a finite number",
        "f:2: b.c: stands twice, first in line 2; keep one",
        "f:3: a key must be a word, not '3'; put it in quotes if it is one",
        "f:4: d: the tag tag:yaml.org,2002:set has no meaning here",
    ]


def test_an_error_tells_the_command_line_first_then_by_line_and_nothing_twice():
    problems = [Problem("f", 9, "b", "x"), Problem("f", 2, "a", "y", "z"), Problem("command line", None, "k=1", "w")]
    error = ConfigError([*problems, problems[0]])
    assert str(error) == "command line: k=1: w\nf:2: a: y; z\nf:9: b: x"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(ConfigError("no such thing")) == "no such thing"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a: 1\nb: "x\\e[31m"', "f:2: b: it holds the character U+001B, which no text has; delete it"),
        ('{"x\\0": 1}', "f:1: it holds the character U+0000, which no text has; delete it"),
        ('a: ["\\ud800"]', "f:1: a[0]: it holds the character U+D800, which no text has; delete it"),
    ],
)
def test_no_escape_brings_in_what_no_text_has(text, said):
    assert error(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a: &a [1, 2, 3]\nb: &b [*a, *a, *a]\nc: &c [*b, *b]\nd: [*c]",
            "f:3: it unfolds to more than 20 values",
        ),
        ("\n".join(f"{' ' * n}a:" for n in range(400)), "f:50: this is not YAML: more than 50 mappings and lists lie"),
        (f"a: {'[' * 400}", "f:1: this is not YAML: more than 50 mappings and lists lie within each other"),
        (f"a: {2**63}", "f:1: a: 9223372036854775808 is too large for a whole number"),
    ],
)
def test_a_text_is_bounded_before_it_is_unfolded(text, said, monkeypatch):
    monkeypatch.setattr(yaml_lines, "MOST_VALUES", 20)
    assert error(text).startswith(said)


def test_the_bounds_leave_room(monkeypatch):
    monkeypatch.setattr(yaml_lines, "MOST_VALUES", 60)
    assert value("a: &a [1, 2, 3]\nb: [*a, *a]") == {"a": [1, 2, 3], "b": [[1, 2, 3]] * 2}
    deep = value(f"a: {'[' * 48}1{']' * 48}")["a"]
    assert str(deep) == f"{'[' * 48}1{']' * 48}"


def test_a_file_is_not_read_beyond_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(yaml_lines, "LARGEST", 8)
    (tmp_path / "f").write_text("abc: [1]\n")
    with pytest.raises(ConfigError, match="f: is larger than 1 MiB"):
        read(tmp_path / "f")
    (tmp_path / "f").write_text("abc: [1]")
    assert read(tmp_path / "f").values == {"abc": [1]}
    (tmp_path / "f").write_bytes(b"a: 1\n\xff")
    with pytest.raises(ConfigError, match="f:2: the byte 0xff is no UTF-8; save the file as UTF-8"):
        read(tmp_path / "f")


def test_an_endless_number_is_refused():
    assert error("1" * 5000).startswith("f:1: '1111")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: there is no such file; name another one with --file"):
        read(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes("sweeps: {é: 1}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml:1: the byte 0xe9 is no UTF-8"):
        read(tmp_path / "latin.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path)


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "f.yaml").write_text("\ufeffsweeps: 1", encoding="utf-8")
    assert read(tmp_path / "f.yaml").values == {"sweeps": 1}


def test_a_mapping_is_cut_out_with_its_places():
    one, two = Place("f", 1, "a.b"), Place("f", 2, "a.b.c")
    whole = LocatedMapping({"a": {"b": {"c": 1}}, "n": None, "t": 3}, {("a", "b"): one, ("a", "b", "c"): two})
    cut = whole.below(("a", "b"))
    assert (cut.values, cut.places) == ({"c": 1}, {(): one, ("c",): two})
    cut.values["c"] = 2
    assert whole.values["a"] == {"b": {"c": 1}}
    assert [whole.below(path).values for path in (("x",), ("n",), ("n", "y"), ("x", "y", "z"), ("t",))] == [{}] * 5
    assert whole.below(()).values == whole.values


def test_a_value_set_takes_its_place_with_it():
    written = LocatedMapping(
        {"a": {"b": 1}}, {(): Place("f", 1, ""), ("a",): Place("f", 2, "a"), ("a", "b"): Place("f", 3, "a.b")}
    )
    new = Place("command line", None, "a.b=2")
    written.set(("a", "b"), {"c": 2}, {(): new})
    written.set(("x", "y"), 3, {(): new})
    assert written.values == {"a": {"b": {"c": 2}}, "x": {"y": 3}}
    assert str(written.problem(("a", "b", "c"), "wrong")) == "command line: a.b=2: wrong"
    assert str(written.problem(("a", "z", 0), "wrong")) == "f:2: a.z[0]: wrong"
    assert written.place(("x",))[0] == new


@pytest.mark.parametrize(
    ("name", "expected"),
    [("alfa", "did you mean alpha?"), ("BETA", "did you mean beta?"), ("xyz", "there are: alpha, beta")],
)
def test_the_nearest_name_is_suggested(name, expected):
    assert nearest(name, ["alpha", "beta"]) == expected
    assert nearest(name, []) == ""
