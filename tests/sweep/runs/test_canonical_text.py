"""One text for all values that mean the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.runs.canonical_text import canonical, digest


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e-15, "1e-15"),
        (1e22, "10000000000000000000000"),
        (True, "true"),
        (None, "null"),
        ("1", '"1"'),
        ("ω", '"ω"'),
        ((1, 2.0), "[1,2]"),
        (np.int64(3), "3"),
        (np.uint8(3), "3"),
        (np.int64(2**60 + 1), "1152921504606846977"),
        (np.float32(0.5), "0.5"),
        (np.float64(2.0), "2"),
        (2**60 + 1, "1152921504606846977"),
        ({"b": [1.5, {}], "a": None}, '{"a":null,"b":[1.5,{}]}'),
    ],
)
def test_the_canonical_form_of_a_value(value, text):
    assert canonical(value) == text


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), ValueError),
        (float("inf"), (ValueError, OverflowError)),
        ({1: 2}, TypeError),
        ({1, 2}, TypeError),
        (np.array([1]), TypeError),
        (np.bool_(True), TypeError),
        (1j, TypeError),
    ],
)
def test_what_has_no_canonical_form(value, error):
    with pytest.raises(error):
        canonical(value)


@given(st.dictionaries(st.text(), st.integers(-(2**53), 2**53), max_size=6))
def test_neither_order_nor_the_type_of_a_number_counts(values):
    turned = {key: float(value) for key, value in reversed(values.items())}
    assert canonical(turned) == canonical(values)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_agree_exactly_where_they_are_equal(a, b):
    assert (canonical(a) == canonical(b)) == (a == b)


def test_digests_have_sixteen_digits():
    # printf '{"a":1}' | sha256sum
    assert digest({"a": 1.0}) == "015abd7f5cc57a2d"
