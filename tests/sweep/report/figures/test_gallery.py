"""The figures of a sweep on disk: formats, names, and bounds for large sweeps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from support.synthetic_results import Results, alpha_sweep

from sweep.analysis.parts import Parts
from sweep.report.figures import gallery
from sweep.report.figures.style import Drawing
from sweep.results.tables import load


def frames(folder: Path) -> tuple[Parts, pd.DataFrame]:
    return Parts(load(folder)), load(folder, "epoch")


def test_a_large_sweep_has_bounded_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha_sweep(tmp_path)
    monkeypatch.setattr(gallery, "LARGE", 0)
    monkeypatch.setattr(gallery, "MOST_OF_LARGE", 1)
    drawn = gallery.save_figures(tmp_path / "iprm-alpha", *frames(tmp_path / "iprm-alpha"))
    assert [figure.stem for figure in drawn.saved] == ["alpha-accuracy"]
    assert drawn.left > 0


def test_the_more_runs_the_fewer_figures_but_a_few_of_any_sweep() -> None:
    drawn = [gallery.most_figures(runs) for runs in (0, 500, 1000, 5000, 20_000)]
    assert drawn == [60, 60, 30, 6, 4]


def test_files_are_written_in_three_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha_sweep(tmp_path)
    monkeypatch.setattr(gallery, "METRICS", ("accuracy",))
    monkeypatch.setattr(gallery, "MOST_FIGURES", 1)
    made = gallery.save_figures(tmp_path / "iprm-alpha", *frames(tmp_path / "iprm-alpha"))
    (saved,) = made.saved
    assert made.left == 3
    folder = tmp_path / "iprm-alpha" / "report" / "figures"
    assert sorted(p.name for p in folder.iterdir()) == [
        ".drawn.json", "alpha-accuracy.pdf", "alpha-accuracy.png", "alpha-accuracy.svg", "captions.txt",
    ]  # fmt: skip
    assert (folder / "alpha-accuracy.pdf").read_bytes().startswith(b"%PDF")
    assert saved.caption in (folder / "captions.txt").read_text()


def test_a_paper_has_the_figures_that_a_report_shows_those_of_the_selecting_metric(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = [
        Drawing(f"{kind}-{metric}", "", Figure(), kind)
        for kind in ("curve", "comparison", "published", "pareto")
        for metric in ("accuracy", "map")
    ]
    monkeypatch.setattr(gallery, "drawings", lambda *of: iter(made))
    written = list[str]()
    monkeypatch.setattr(gallery, "save", lambda figure, path: written.append(path.stem))
    alpha_sweep(tmp_path)
    gallery.save_for_paper(tmp_path, *frames(tmp_path / "iprm-alpha"), tmp_path / "paper")
    shown = ["curve-accuracy", "comparison-accuracy", "published-accuracy", "pareto-accuracy", "pareto-map"]
    assert written == shown * len(gallery.TEXT_WIDTHS)


def test_only_figures_that_changed_are_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha_sweep(tmp_path)
    monkeypatch.setattr(gallery, "METRICS", ("accuracy",))
    monkeypatch.setattr(gallery, "MOST_FIGURES", 1)
    written, folder = list[str](), tmp_path / "iprm-alpha"
    monkeypatch.setattr(gallery, "save", lambda figure, path: (written.append(path.name), path.write_text("drawn")))
    gallery.save_figures(folder, *frames(folder))
    assert len(written) == 3
    kept = gallery.save_figures(folder, *frames(folder))
    assert len(written) == 3
    assert [figure.stem for figure in kept.saved] == ["alpha-accuracy"]
    parts, epochs = frames(folder)
    parts.runs.loc[parts.runs.index[0], "test_accuracy"] += 0.001
    gallery.save_figures(folder, Parts(parts.runs), epochs)
    assert len(written) == 6


def test_labels_of_figures_are_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    made = Results(tmp_path)
    made.sweep("odd")
    for label in ("$\\foo$", "[/b] 中"):
        made.run("odd", "ogm", 0, {"multi": 0.5, "left": 0.5}, label=label)
    monkeypatch.setattr(gallery, "METRICS", ("accuracy",))
    monkeypatch.setattr(gallery, "FORMATS", ("svg",))
    gallery.save_figures(tmp_path / "odd", *frames(tmp_path / "odd"))
    assert "$\\foo$" in (tmp_path / "odd" / "report" / "figures" / "compare-accuracy.svg").read_text()
    assert len([w for w in recwarn if "has 中: the figures show boxes there" in str(w.message)]) == 1


def test_figures_of_labels_that_differ_in_signs_alone_have_files_of_their_own() -> None:
    assert gallery.free_stem("-alpha", []) == "alpha"
    assert gallery.free_stem("alpha", ["alpha", "alpha-2", "beta"]) == "alpha-3"
