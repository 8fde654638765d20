"""The report of a sweep: a page that opens offline, with its tables, plots and figures.

In comes a folder of results, out come ``NAME/report/index.html`` and the files of :mod:`sweep.report.figures`. Numbers
are judged in :mod:`sweep.analysis` alone; here they are laid out. Matplotlib and Plotly stay inside this room."""

from __future__ import annotations

from sweep.report.report import write_report
from sweep.report.tables import configurations, difference_blocks

__all__ = ["configurations", "difference_blocks", "write_report"]
