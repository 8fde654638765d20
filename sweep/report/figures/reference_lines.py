"""Reference lines of figures: each baseline under the seeds of what stands beside it, or no line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep.analysis.parts import ONE_MODALITY, Parts
from sweep.analysis.statistics import Estimate, curve, estimate_runs
from sweep.report.figures.style import DASHES

PLOTLY_DASHES = ("dash", "dot", "dashdot", "longdashdot")
DASH_WORDS = ("dashed", "dotted", "dash-dotted", "dash-dot-dotted")


@dataclass(frozen=True)
class ReferenceLine:
    """The level of a reference: its mean and interval, shares. place: among all references of the sweep, so that
    its dash is the same in every panel. over: its curve, where it is one over the values of an axis, as
    :func:`sweep.analysis.statistics.curve` gives it; ``found`` is then that of its chosen configuration."""

    label: str
    found: Estimate
    place: int
    over: pd.DataFrame | None = None

    @property
    def title(self) -> str:
        """Name the line, with its number of runs."""
        return f"{self.label} (n = {self.found.n})"

    @property
    def dash(self) -> Any:
        """Give its dash for Matplotlib."""
        return DASHES[self.place % len(DASHES)]

    @property
    def plotly_dash(self) -> str:
        """Give its dash for Plotly."""
        return PLOTLY_DASHES[self.place % len(PLOTLY_DASHES)]

    @property
    def dash_word(self) -> str:
        """Name its dash."""
        return DASH_WORDS[self.place % len(DASH_WORDS)]


def reference_lines(parts: Parts, beside: pd.DataFrame, column: str, across: str | None = None) -> list[ReferenceLine]:
    """Give the reference lines of a panel, those of ``column`` under the seeds of ``beside``, which is of one dataset.

    One that ``beside`` has as a row of its own is not drawn again. across: the column of the axis across, where there
    is one; a reference that varies it is a curve over its values."""
    if parts.references.empty:
        return []
    dataset, own = str(beside["dataset"].iloc[0]), {*beside["label"].unique()}
    places = {str(label): place for place, label in enumerate(parts.references["label"].unique())}
    curves = parts.reference_curves(dataset, beside, across) if across else {}
    lines = []
    for label, rows in parts.reference_rows(dataset, beside).items():
        found = estimate_runs(rows, column)
        if found.n and label not in own:
            over = curve(curves[label], str(across), column) if label in curves else None
            lines.append(ReferenceLine(_name(label, rows), found, places[label], over))
    return lines


def _name(label: str, rows: pd.DataFrame) -> str:
    """Name a reference, and of unimodal models the modality that is the best (one on each split)."""
    if not rows["method"].eq("unimodal").all():
        return label
    return f"{label}: {' or '.join(dict.fromkeys(rows[ONE_MODALITY]))}"


def references_text(lines: Sequence[ReferenceLine]) -> str:
    """Name the reference lines of a figure by their dashes; "" where there is none."""
    counts: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        counts.setdefault((line.label, line.dash_word), []).append(line.found.n)
    said = [
        f"{label} ({dash}, n = {min(n)}{'' if min(n) == max(n) else f' to {max(n)}'})"
        for (label, dash), n in counts.items()
    ]
    return f"Reference lines, under the same seeds: {', '.join(said)}." if said else ""
