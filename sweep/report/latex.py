"""Tables of a report as LaTeX, for papers: booktabs, the best in bold, what is not shown to differ marked."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

import numpy as np
import pandas as pd

from sweep.analysis.standings import BETTER, WORSE
from sweep.report.blocks import Table
from sweep.report.standings import DIFFERENCES, HEADINGS, shown_columns, standing_rows

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "×": r"$\times$", "<": "$<$",
    ">": "$>$", "|": r"\textbar{}", "[": "{[}", "*": "{*}",
    "α": r"$\alpha$", "β": r"$\beta$", "λ": r"$\lambda$", "ρ": r"$\rho$", "τ": r"$\tau$",
}  # fmt: skip
NOT_SHOWN = r"$^{\circ}$"
"""Mark of a difference that chance may give, or that cannot be judged."""
PREAMBLE = "% \\usepackage{booktabs} in the preamble; written by python -m sweep report --tex\n"


def escaped(text: str) -> str:
    """Write text so that LaTeX prints it as it is: also a bracket or a star after the end of a row, which takes both
    for its own."""
    written = re.sub("|".join(map(re.escape, SPECIAL)), lambda found: SPECIAL[found[0]], text)
    return re.sub(r"(?<!\S)-(?=\d)", "$-$", written)


def latex_table(table: Table, caption: str, label: str, bold: Set[tuple[int, int]] = frozenset()) -> str:
    """Write a table with its caption and note. bold: (row, column) of the cells in bold. Cells are escaped, but for the
    marks of this module."""
    return _written(
        [escaped(heading) for heading in table.columns],
        [[_cell(text, (at, place) in bold) for place, text in enumerate(row)] for at, row in enumerate(table.rows)],
        f"{caption} {table.note}".strip(),
        label,
    )


def latex_standings(table: pd.DataFrame, note: str, label: str) -> str:
    """Write the table that a report opens with: the best validation and test mean of each dataset in bold, differences
    that are not shown marked."""
    bold = set[tuple[int, str]]()
    for _, rows in table.groupby("dataset", sort=False):
        for name in ("validation", "test"):
            if rows[name].notna().any():
                best = rows.index[np.isclose(rows[name], rows[name].max(), rtol=0, atol=1e-9)]
                bold |= {(int(row), name) for row in best}
    shown, lines = shown_columns(table), []
    for at, row in enumerate(standing_rows(table)):
        cells = []
        for place in shown:
            name, text = HEADINGS[place], row[place]
            if (baseline := DIFFERENCES.get(name)) and text != "–":
                verdict = table.loc[at, f"{baseline}_verdict"]
                cells.append(escaped(text.split(",")[0]) + ("" if verdict in (BETTER, WORSE) else NOT_SHOWN))
            else:
                cells.append(_cell(text, (at, name) in bold))
        lines.append(cells)
    caption = f"Best of each method. {note} Bold: the largest mean, which need not differ from the others."
    headings = [escaped(HEADINGS[place]) for place in shown]
    return _written(headings, lines, caption, label, f" {NOT_SHOWN} not shown to differ, or not to be judged.")


def _cell(text: str, bold: bool) -> str:
    return rf"\textbf{{{escaped(text)}}}" if bold else escaped(text)


def _written(headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str, marks: str = "") -> str:
    lines = [f"{' & '.join(row)} \\\\" for row in rows]
    return (
        f"{PREAMBLE}\\begin{{table}}\n\\centering\n\\caption{{{escaped(caption)}{marks}}}\n\\label{{tab:{label}}}\n"
        f"\\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}\n\\toprule\n{' & '.join(headings)} \\\\\n\\midrule\n"
        + "\n".join(lines)
        + "\n\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )
