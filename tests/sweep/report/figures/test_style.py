"""Axes whose labels are plain texts, and figures that know how wide a paper's text is."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from sweep.report.figures import style
from sweep.report.figures.style import scale_logarithmically


def test_logarithmic_axes_have_labels_without_mathematics() -> None:
    ax = Figure().subplots()
    scale_logarithmically(ax)
    ax.set_xlim(0.0005, 2)
    major, minor = ax.xaxis.get_major_formatter(), ax.xaxis.get_minor_formatter()
    assert major.format_ticks([0.001, 0.1, 1]) == ["0.001", "0.1", "1"]
    assert minor.format_ticks([0.002, 0.5]) == ["", ""]
    ax.set_xlim(0.2, 0.9)
    assert minor.format_ticks([0.3, 0.5]) == ["0.3", ""]


def test_every_figure_fits_the_column_of_a_paper_since_only_style_makes_figures() -> None:
    makers = {path.name for path in Path(style.__file__).parent.glob("*.py") if "Figure(" in path.read_text("utf-8")}
    assert makers == {"style.py"}
