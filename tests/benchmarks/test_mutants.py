"""Small changes of code, one place at a time, and the tests that are run against each."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from benchmarks.mutants import all_pass, mirrored_tests, module_path, mutations, read_keys


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
    assert (one.line, one.before, one.after) == (3, "1,", "2,")
    assert order.key == "m.py: c < d, -> c <= d,"
    assert order.source == source.replace("<", "<=")
    assert [each.key for each in mutations(f"# moved\n\n{source}", "m.py")] == [one.key, order.key]


def test_the_tests_of_a_module_mirror_its_place(tmp_path: Path) -> None:
    for name in ("sweep/runs/store.py", "methods/aug/method.py", "models/encoders/i3d.py", "sweep/runs/__init__.py",
                 "tests/sweep/runs/test_store.py", "tests/methods/test_aug.py", "tests/models/test_encoders_i3d.py",
                 "tests/models/test_encoders.py", "data/__init__.py", "tests/data/test_init.py",
                 "models/encoders/_hub.py", "tests/models/test_encoders_hub.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {
        module: [path.as_posix() for path in mirrored_tests(module_path(module, tmp_path), tmp_path)]
        for module in (
            "sweep.runs.store",
            "methods.aug.method",
            "models.encoders.i3d",
            "models.encoders._hub",
            "data",
            "sweep.runs",
        )
    }
    assert found == {
        "sweep.runs.store": ["tests/sweep/runs/test_store.py"],
        "methods.aug.method": ["tests/methods/test_aug.py"],
        "models.encoders.i3d": ["tests/models/test_encoders_i3d.py"],
        "models.encoders._hub": ["tests/models/test_encoders_hub.py"],
        "data": ["tests/data/test_init.py"],
        "sweep.runs": [],
    }
    with pytest.raises(SystemExit, match=r"there is no module sweep\.nothing"):
        module_path("sweep.nothing", tmp_path)


def test_equivalent_changes_are_read_without_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("# because\nm.py: a < b -> a <= b\n\n")
    assert read_keys(tmp_path / "keys.txt") == {"m.py: a < b -> a <= b"}
    assert read_keys(tmp_path / "none.txt") == set()


@pytest.mark.parametrize(
    ("body", "limit", "passed"),
    [("assert value() == 1", 60, True), ("assert value() == 2", 60, False), ("while value(): pass", 0.2, False)],
)
def test_tests_run_on_the_code_of_their_checkout_and_a_loop_counts_as_a_failure(
    tmp_path: Path, body: str, limit: float, passed: bool
) -> None:
    (tmp_path / "changed_code.py").write_text("def value():\n    return 1\n")
    (tmp_path / "test_it.py").write_text(f"from changed_code import value\n\n\ndef test_it():\n    {body}\n")
    assert all_pass(tmp_path, ["test_it.py"], limit) is passed
