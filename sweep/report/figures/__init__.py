"""Figures for papers, drawn with Matplotlib from the rows of results alone.

In come the parts of a sweep and its epochs, out come drawings with captions, and their files in three formats. The
style is set in :mod:`~sweep.report.figures.style`, the order in :mod:`~sweep.report.figures.gallery`, nowhere else."""

from __future__ import annotations

from sweep.report.figures.gallery import Gallery, Saved, drawings, save_figures
from sweep.report.figures.style import Drawing

__all__ = ["Drawing", "Gallery", "Saved", "drawings", "save_figures"]
