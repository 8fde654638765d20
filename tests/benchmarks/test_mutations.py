"""Small changes of code, one place at a time."""

from __future__ import annotations

import textwrap

import pytest

from benchmarks.mutations import mutations


def changed(source: str) -> list[str]:
    """The changed lines of every change of a source."""
    return [each.after for each in mutations(textwrap.dedent(source))]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["x = a <= b"]),
        ("x = a >= b", ["x = a > b"]),
        ("x = a == b != c", ["x = a != b != c", "x = a == b == c"]),
        ("x = a is not b", ["x = a is b"]),
        ("x = a in b", ["x = a not in b"]),
        ("x = a and (b) and c", ["x = a or (b) or c"]),
        ("x = not (a)", ["x = (a)"]),
        ("x = (a + b) * c", ["x = (a + b) / c", "x = (a - b) * c"]),
        ("x = a // b", ["x = a * b"]),
        ("x = -a", ["x = a"]),
        ("x = 2", ["x = 3"]),
        ("x = True", ["x = False"]),
        ("x = min(a, b)", ["x = max(a, b)"]),
        ("x = sorted(a, key=f)", ["x = list(a)"]),
        ("x = [a for a in b if a]", ["x = [a for a in b if not (a)]"]),
        ("x = b if a else c", ["x = b if not (a) else c"]),
        ("f(a)", ["pass"]),
        ("a.x = b", ["pass"]),
        ("x += a", ["pass"]),
        ("x = 'ω' < a", ["x = 'ω' <= a"]),
    ],
)
def test_each_place_is_changed_by_itself(source: str, expected: list[str]) -> None:
    assert changed(source) == expected


def test_instead_of_false_true_is_returned_and_not_nothing() -> None:
    assert changed("def f(): return False") == ["def f(): return True"]
    assert changed("def f(): return True") == ["def f(): return None", "def f(): return False"]


def test_statements_are_left_out_and_nothing_returned() -> None:
    source = """
        def f(a):
            with lock:
                g(a)
            if a:
                raise ValueError(f"{a + 1}")
            return a
    """
    assert changed(source) == [
        'with __import__("contextlib").nullcontext():',
        "pass",
        "if not (a):",
        "pass",
        "return None",
    ]


@pytest.mark.parametrize(
    "source",
    [
        '"""Text."""',
        "x = 'text'",
        "x: int | None = a",
        "def f(a: int | None = None) -> int | None: ...",
        "@d(frozen=True)\nclass A: ...",
        "if TYPE_CHECKING:\n    f(1)",
        "if __name__ == '__main__':\n    f(1)",
        "x = f'{a + 1}'",
        "assert a > 1",
        "x = zip(a, b, strict=True)",
        "def f(): return None",
    ],
)
def test_what_no_test_could_notice_is_left_alone(source: str) -> None:
    assert changed(source) == []


def test_a_change_is_named_by_its_line_and_its_key_outlives_a_move() -> None:
    source = "a = b\nx = [\n    1,\n    c < d,\n]\n"
    one, order = mutations(source, "m.py")
    assert (one.line, one.last_line, one.before, one.after) == (3, 3, "1,", "2,")
    assert order.key == "m.py: c < d, -> c <= d,"
    assert order.source == source.replace("<", "<=")
    assert [each.key for each in mutations(f"# moved\n\n{source}", "m.py")] == [one.key, order.key]
