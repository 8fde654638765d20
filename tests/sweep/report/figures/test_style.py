"""Axes whose labels are plain texts."""

from __future__ import annotations

from matplotlib.figure import Figure

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
