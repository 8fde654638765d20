"""What a paper needs: files on disk, figures as wide as a column, a checklist of what was run."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.synthetic_results import Results, noisy, references

from sweep.analysis.parts import Parts
from sweep.report.figures import gallery
from sweep.report.figures.comparisons import draw_comparison
from sweep.report.figures.style import PAPER_STYLE, for_paper
from sweep.report.paper import write_paper
from sweep.results.tables import load


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = Results(tmp_path_factory.mktemp("paper"))
    results.sweep("one", "method: iprm\nseeds: [0, 1]\n")
    for seed in range(2):
        results.run("one", "iprm", seed, noisy(seed, 0.9, 0.8, 0.5), label="iprm with a name of many letters")
        results.run("one", "bss", seed, noisy(seed, 0.85, 0.8, 0.5))
    references(results, "one", range(2))
    return results.path


def test_the_files_of_a_paper(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "MOST_FIGURES", 1)  # two files of which take a second
    folder = write_paper(compared, "one")
    assert {path.name for path in folder.glob("*.*")} == {
        "methods.tex", "configurations.tex", "differences-to-joint-training.tex", "checklist.txt",
    }  # fmt: skip
    drawn = [sorted(path.name for path in (folder / name).iterdir()) for name in ("one-column", "two-columns")]
    assert drawn[0] == drawn[1]
    assert "compare-accuracy.pdf" in drawn[0]
    text = (folder / "checklist.txt").read_text()
    assert "[x] Seeds: 0, 1 for every configuration; 0, 1 for the references." in text
    assert "[x] Lost runs: none." in text
    assert "[x] Licence of digits: scikit-learn" in text
    assert "[x] Pretrained weights: none." in text
    assert "method: iprm\nseeds: [0, 1]" in text


def test_a_figure_for_a_column_is_as_wide_as_it_with_the_text_size(compared: Path) -> None:
    parts = Parts(load(compared / "one"))
    with for_paper(3.3):
        narrow = draw_comparison(parts, parts.points, "test_accuracy", "x").figure
    assert narrow.get_figwidth() == 3.3
    first = narrow.axes[0].get_yticklabels()[0]
    assert first.get_text() == "iprm with a name of\nmany letters"
    assert first.get_fontsize() == PAPER_STYLE["ytick.labelsize"]
    wide = draw_comparison(parts, parts.points, "test_accuracy", "x").figure
    assert wide.get_figwidth() > 5
    assert "\n" not in wide.axes[0].get_yticklabels()[0].get_text()
