"""Severities: the values that a sweep varies under ``data.NAME.corrupt``.

They are conditions under which methods are compared, and nothing to choose among: whoever chose among them would choose
the cleanest data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CORRUPT = "corrupt"
"""The option of every dataset that says which modalities are corrupted, and how."""


def is_severity(name: str) -> bool:
    """Tell whether the values of a varied name are severities: ``data.corrupt.image.noise``,
    ``data.av_digits.corrupt.image.noise``."""
    section, *rest = name.split(".")
    return section == "data" and CORRUPT in rest[:2]


def severities(values: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the severities from the values of varied names."""
    return {name: value for name, value in values.items() if is_severity(name)}
