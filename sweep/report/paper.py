"""What a paper needs of a sweep, on disk: tables as LaTeX, figures as wide as its columns, a checklist."""

from __future__ import annotations

from pathlib import Path

from sweep.analysis.completeness import raced_out_seeds, read_request
from sweep.analysis.parts import Parts
from sweep.analysis.severities import at_each_severity
from sweep.analysis.standings import standings
from sweep.report.blocks import Block
from sweep.report.checklist import checklist
from sweep.report.figures.gallery import save_for_paper
from sweep.report.figures.style import slug
from sweep.report.latex import latex_standings, latex_table
from sweep.report.standings import standing_blocks
from sweep.report.tables import number_blocks
from sweep.results.tables import load_both


def write_paper(results: Path, name: str, to: Path | None = None) -> Path:
    """Write report/paper/, in results/NAME or in the folder ``to``, and return it: TABLE.tex, one-column/ and
    two-columns/ with the figures of the selection metric as PDF, checklist.txt. Raises ResultsError where the sweep has
    no results."""
    folder = results / name
    target = (to or folder) / "report" / "paper"
    target.mkdir(parents=True, exist_ok=True)
    runs, epochs = load_both(folder)
    parts, request = Parts(runs), read_request(folder)
    table = standings(parts)
    for block in standing_blocks(table):
        note = block.table.note if block.table else ""
        (target / "methods.tex").write_text(latex_standings(table, note, f"{name}-methods"), encoding="utf-8")
    for block in number_blocks(parts, request.seeds, raced_out_seeds(folder), []):
        _write_block(target, name, block)
    save_for_paper(folder, parts, at_each_severity(epochs), target)
    file = folder / "sweep.yaml"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    (target / "checklist.txt").write_text(checklist(parts, request, text), encoding="utf-8")
    return target


def _write_block(target: Path, name: str, block: Block) -> None:
    if block.table is not None and block.table.rows:
        stem = slug(block.heading)
        written = latex_table(block.table, f"{block.heading}.", f"{name}-{stem}")
        (target / f"{stem}.tex").write_text(written, encoding="utf-8")
