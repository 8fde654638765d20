"""Severities in tables: each is what a dataset of its own would be, on which methods are compared and their
configurations chosen."""

from __future__ import annotations

import re

import pandas as pd

SOURCE = "corrupted_dataset"
"""The column that holds the name of the dataset itself, in rows that :func:`at_each_severity` gives."""


def at_each_severity(rows: pd.DataFrame) -> pd.DataFrame:
    """Name each dataset with its severity, "digits at profile noise 2", and leave severities out of the points, so that
    whatever is chosen or compared on a dataset is so at one severity. Rows of no sweep that varies severities come back
    as they are."""
    if "severity" not in rows or SOURCE in rows or rows["severity"].isna().all():
        return rows
    written = rows["severity"].where(rows["severity"].notna(), "")
    words = {text: f" at {severity_words(text)}" if text else "" for text in written.unique()}
    points = zip(rows["point"], written, strict=True)
    return rows.assign(
        dataset=rows["dataset"] + written.map(words),
        point=[point.removesuffix(text).removesuffix(", ") if text else point for point, text in points],
        **{SOURCE: rows["dataset"]},
    )


def severity_words(text: str) -> str:
    """Write the column ``severity`` for people: "data.digits.corrupt.profile.noise=2" -> "profile noise 2"."""
    return re.sub(r"data\.(?:\w+\.)?corrupt\.([\w.]+)=", lambda found: found[1].replace(".", " ") + " ", text)
