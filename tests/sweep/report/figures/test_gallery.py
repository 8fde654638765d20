"""The figures of a sweep on disk: formats, names, and bounds for large sweeps."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


def compared(folder: Path) -> pd.DataFrame:
    """A grid of two names, one of one, a point, joint training, and runs under report seeds."""
    results = Results(folder)
    results.sweep("one")
    for a in (0, 1):
        for b in (0, 1):
            results.run("one", "iprm", 0, values={"a": a, "b": b})
        results.run("one", "bss", 0, values={"c": a})
    results.run("one", "lfa", 0)
    results.run("one", "joint", 0, role="reference", hyperparameters={"unimodal_loss_weight": 0.0})
    results.run("one", "iprm", 7, values={"a": 0, "b": 0}, role="report")
    return load(folder / "one")


def stems(parts: Parts, metric: str) -> list[str]:
    """The names of the figures of a metric, in their order."""
    painters = gallery._painters_of_metric(parts, pd.DataFrame(), metric)
    return [next(each for each in paint.args if str(each).endswith(f"-{metric}")) for paint in painters]  # type: ignore[attr-defined]


COMPARED = ["compare-accuracy", "compare-balance-accuracy", "compare-cost-accuracy", "compare-differences-accuracy"]


def test_of_each_metric_come_curves_maps_and_comparisons(tmp_path: Path) -> None:
    runs = compared(tmp_path)
    early = runs[runs["role"].ne("report")]
    of_iprm = ["a-accuracy", "b-accuracy", "a-b-accuracy"]
    of_all = [*(f"iprm-{stem}" for stem in of_iprm), "bss-c-accuracy"]
    assert stems(Parts(early), "accuracy") == [*of_all, *COMPARED]
    assert stems(Parts(early[early["role"].ne("reference")]), "accuracy") == [*of_all, *COMPARED[:-1]]
    # What it costs does not depend on the metric.
    others = [*of_all, *(stem for stem in COMPARED if "cost" not in stem)]
    assert stems(Parts(early), "map") == [stem.replace("accuracy", "map") for stem in others]
    fresh = [stem.replace("compare", "report-seeds") for stem in COMPARED]
    assert stems(Parts(runs[runs["label"].ne("bss")]), "accuracy") == [*of_iprm, *COMPARED, *fresh]
    assert stems(Parts(runs), "unknown") == []


@pytest.mark.parametrize(
    ("objectives", "searched", "subsets", "drawn"),
    [
        (1, False, False, "robustness map trajectories search accuracy macro_f1"),
        (2, False, False, "fronts robustness map trajectories search accuracy macro_f1"),
        (1, True, False, "robustness map trajectories search budgets accuracy macro_f1"),
        (1, False, True, "robustness map trajectories search subsets accuracy macro_f1"),
    ],
)
def test_what_selects_comes_first_and_what_has_no_metric_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objectives: int, searched: bool, subsets: bool, drawn: str
) -> None:
    for name in ("fronts", "robustness", "trajectories", "budgets", "subsets"):
        monkeypatch.setattr(gallery, f"draw_{name}", lambda *of, name=name: [name])
    monkeypatch.setattr(gallery, "search_drawings", lambda sweep, metric: ["search"])
    monkeypatch.setattr(gallery, "pareto_fronts", lambda *of: None)
    monkeypatch.setattr(gallery, "subset_columns", lambda rows: ["a column"] * subsets)
    monkeypatch.setattr(gallery, "_painters_of_metric", lambda parts, epochs, metric: [lambda: [metric]])
    request = SimpleNamespace(objectives=("accuracy", "seconds")[:objectives], seeds=2)
    monkeypatch.setattr(gallery, "read_request", lambda sweep: request)
    parts: Any = SimpleNamespace(runs=pd.DataFrame({"metric": ["map"]}), searched=[1] * searched)
    assert list(gallery.drawings(tmp_path, parts, pd.DataFrame())) == drawn.split()  # type: ignore[comparison-overlap]


def test_parts_of_a_figure_are_placed_twice_and_then_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    figure, placed = Figure(layout="constrained"), list[Figure]()
    monkeypatch.setattr(figure.get_layout_engine(), "execute", placed.append)
    gallery.lay_out(figure)
    gallery.lay_out(figure)
    assert placed == [figure, figure]
    assert figure.get_layout_engine() is None


def test_a_character_that_no_font_has_is_told_once_and_other_warnings_as_they_are(
    recwarn: pytest.WarningsRecorder,
) -> None:
    with gallery._glyphs_told_once():
        pass
    assert len(recwarn) == 0
    with gallery._glyphs_told_once() as caught:
        for text in ("Glyph 20013 (x) missing from font(s) A", "another", "Glyph 20013 (x) missing from font(s) A"):
            warnings.warn(text, stacklevel=1)
        assert len(caught) == 3
    assert [str(each.message) for each in recwarn] == [
        "no font that Matplotlib finds has 中: the figures show boxes there, the page does not",
        "another",
    ]


def test_figures_of_labels_that_differ_in_signs_alone_have_files_of_their_own() -> None:
    assert gallery.free_stem("-alpha", []) == "alpha"
    assert gallery.free_stem("alpha", ["alpha", "alpha-2", "beta"]) == "alpha-3"
