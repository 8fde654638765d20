"""One text for all values that mean the same, which identities are hashes of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from sweep.runs.reached_code import hex_digest


def canonical(value: Any) -> str:
    """Write one text for all values that mean the same: 1, 1.0 and 1e0 agree, so do 0.0 and -0.0; the order of keys
    does not count, that of lists does; true is no number.

    Takes null, bool, finite numbers, text, lists and mappings with text as keys. Raises TypeError, ValueError."""
    return as_json(plain(value))


# Made once: json.dumps makes one for each value.
as_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def plain(value: Any) -> Any:
    """Reduce a value to what JSON holds, equal for all that mean the same. Raises TypeError."""
    if value is None or type(value) in (bool, int, str) or isinstance(value, str):
        return value  # nearly all values: abstract classes take ten times as long to ask
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return int(number) if number.is_integer() else number
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"a key must be text, not {wrong[0]!r}")
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form")


def digest(value: Any) -> str:
    """Give 16 hexadecimal digits of the SHA-256 of :func:`canonical`."""
    return hex_digest(canonical(value))
