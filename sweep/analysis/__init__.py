"""Pure functions of result tables: statistics over seeds, completeness, conclusions, Pareto fronts, importances.

In come the rows that :func:`sweep.results.load` gives, with a sweep's folder where its plan, race or studies count. Out
come estimates, tables and sentences. Nothing is written or drawn here, and no run is touched. Nobody else judges
results: whoever needs the best configuration asks :func:`chosen_run`."""

from __future__ import annotations

from sweep.analysis import conclusions, statistics
from sweep.analysis.completeness import SweepRequest, completeness_table, raced_out_seeds, read_request
from sweep.analysis.fronts import Front, pareto_fronts
from sweep.analysis.parts import Axis, Grid, Parts, chosen_run
from sweep.analysis.search_results import Importance, SearchResult, importances, search_results

__all__ = [
    "Axis",
    "Front",
    "Grid",
    "Importance",
    "Parts",
    "SearchResult",
    "SweepRequest",
    "chosen_run",
    "completeness_table",
    "conclusions",
    "importances",
    "pareto_fronts",
    "raced_out_seeds",
    "read_request",
    "search_results",
    "statistics",
]
