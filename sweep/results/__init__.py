"""Results as tables: run folders and indices read as data frames, a row a run or a row an epoch.

In comes the path or URI of a sweep's results (or of all), out come pandas frames with the columns that :func:`load`
describes. The run folders are the truth and are never changed from here; runs.parquet, runs.csv and epochs.parquet can
always be written again."""

from __future__ import annotations

from sweep.results.tables import METRICS, ResultsError, columns_of, index_entries, load, write_tables

__all__ = ["METRICS", "ResultsError", "columns_of", "index_entries", "load", "write_tables"]
