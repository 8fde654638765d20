"""What configurations are called in figures."""

from __future__ import annotations

import textwrap

import pandas as pd

from sweep.analysis.parts import configuration_name

LONGEST = 40
"""Letters up to which a name says the varied values, which all stand in the tables."""


def figure_names(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Map (label, point) of each configuration to a name, in order of appearance.

    One label alone need not be said. Of a name that is too long the values are left out where its label has no other
    configuration, as the choice of a search; else it is cut, unless two would be the same."""
    found = rows.drop_duplicates(["label", "point"])
    points = found["label"].value_counts()
    names = dict[tuple[str, str], str]()
    for row in found.to_dict("records"):
        name = str(row["point"]) if len(points) == 1 and row["point"] else configuration_name(row)
        if len(name) > LONGEST and points[row["label"]] == 1:
            name = str(row["label"])
        names[row["label"], row["point"]] = name
    short = {key: textwrap.shorten(name, LONGEST, placeholder=" …") for key, name in names.items()}
    several = pd.Series(list(short.values())).value_counts()
    return {key: name if several[short[key]] > 1 else short[key] for key, name in names.items()}
