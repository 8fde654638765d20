"""Equality of nested dictionaries and lists of numbers and tensors, bit for bit or up to rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch


@contextmanager
def explained(usual_cause: str) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        error.add_note(usual_cause)
        raise


def assert_close(found: Any, expected: Any, where: str) -> None:
    if torch.is_tensor(expected) and expected.is_floating_point():
        limits = {"atol": 2e-4, "rtol": 2e-3, "equal_nan": True}
        torch.testing.assert_close(found, expected, **limits, msg=lambda text: f"{where}: {text}")
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_close(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_close(one, other, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=2e-4, rel=2e-3, nan_ok=True), f"{where}: {found}, not {expected}"
    else:
        assert torch.equal(found, expected) if torch.is_tensor(expected) else found == expected, where


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Bit-equal, through nested dictionaries and lists."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}[{number}]")
    elif torch.is_tensor(expected):
        exactly = {"atol": 0, "rtol": 0, "equal_nan": True}
        torch.testing.assert_close(found, expected, **exactly, msg=lambda text: f"{where}: {text}")
    elif isinstance(expected, float) and math.isnan(expected):
        assert math.isnan(found), where
    else:
        assert found == expected, where
