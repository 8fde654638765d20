"""The page opens offline and says what the runs say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from support.synthetic_results import Results, alpha_sweep

from sweep.analysis.parts import Parts
from sweep.report import report
from sweep.report.figures import gallery
from sweep.report.report import write_report
from sweep.results.tables import ResultsError, load


class Page(HTMLParser):
    """Text, tags and the addresses that the page would load or link to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in ("script", "style"):
            self.words.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("results")
    results = alpha_sweep(path)
    folder = results.run("iprm-alpha", "iprm", 9, values={"alpha": 0.4}, status="failed", reason="<b>bad & ugly</b>")
    folder.with_name("000000000001").joinpath("log.txt").write_text("test split without samples of nine\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "METRICS", ("accuracy",))
        page = write_report(path, "iprm-alpha")
    assert page == path / "iprm-alpha" / "report" / "index.html"
    return path, page.read_text(encoding="utf-8")


def test_the_page_loads_nothing_from_elsewhere(written: tuple[Path, str]) -> None:
    path, html = written
    page = Page(html)
    assert not [address for address in page.loaded if re.match(r"(https?:)?//", address)]
    local = [a for a in page.loaded if not a.startswith(("#", "data:"))]
    assert local
    assert all((path / "iprm-alpha" / "report" / address).exists() for address in local)
    assert html.count("plotly.js v") == 1


def test_the_page_tells_what_was_run(written: tuple[Path, str]) -> None:
    text = " ".join(" ".join(Page(written[1]).words).split())
    for expected in (
        "IPRM: sensitivity to the weight of the moving average",
        "IPRM, IJCAI 2025, Figure 2",
        "30 done",
        "2 failed (2 error)",
        "1 diverged",
        "1 missing",
        "Sensitive: the mean moves by",
        "joint + unimodal losses (reference)",
        "p, all together",
        "optimism",
        "<b>bad & ugly</b>",
        "diverged on purpose",
        "method: iprm",
        "f00d",
        "torch",
        "2.11.0",
        "abc1234",
        "test split without samples of nine",
        "forward passes a run",
    ):
        assert expected in text


def test_optimism_is_the_gap_to_the_best_test_epoch(written: tuple[Path, str]) -> None:
    path, html = written
    runs = load(path / "iprm-alpha")
    runs = runs[runs["vary.alpha"].eq(0.9)]
    assert (runs["test_peak_accuracy"] - runs["test_accuracy"]).mean() == pytest.approx(0.012)
    row = next(r for r in html.split("<tr") if "<td>iprm: alpha=0.9</td>" in r)
    assert "<td>1.2</td>" in row


def test_the_chosen_row_is_marked(written: tuple[Path, str]) -> None:
    marked = re.findall(r'<tr class="best">\s*<td>(.*?)</td>', written[1])
    assert marked == ["joint + unimodal losses (baseline)", "iprm: alpha=0.7"]


def test_plots_have_series_of_each_modality(written: tuple[Path, str]) -> None:
    assert written[1].count("Plotly.newPlot") >= 2
    for name in ("fused", "left", "profile", "joint + unimodal losses", "validation macro-F1 (%)", "lambda"):
        assert f'"{name}"' in written[1]


def test_no_report_without_results(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no results"):
        write_report(tmp_path, "absent")


@pytest.mark.usefixtures("one_figure")
def test_failures_are_counted_by_cause_and_retries_told(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0, status="failed", reason="CUDA out of memory", cause="memory")
    results.run(
        "one", "iprm", 1, status="failed", reason="took 61 s", cause="timeout", attempts=2, failures=["took 60 s"]
    )
    results.run("one", "iprm", 2, attempts=3, failures=["its process 7 was killed", "its process 8 was killed"])
    results.run("one", "iprm", 3, attempts=2)
    text = " ".join(" ".join(Page(write_report(tmp_path, "one").read_text(encoding="utf-8")).words).split())
    for expected in (
        "2 failed (1 memory, 1 timeout)",
        "3 started more than once",
        "failed memory CUDA out of memory 1",
        "3 runs were started more than once (2 done, 1 failed in the end)",
        "its process 7 was killed 1",
        "interrupted: went on from its last checkpoint 1",
    ):
        assert expected in text


@pytest.mark.usefixtures("one_figure")
def test_a_sweep_without_a_single_end_still_has_a_report(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one", "")
    results.run("one", "iprm", 0, values={"alpha": 0.1}, status="missing")
    results.run("one", "iprm", 0, values={"alpha": 0.2}, status="failed", reason="boom")
    assert "boom" in write_report(tmp_path, "one").read_text(encoding="utf-8")


# Sections by hand --------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots stand as the names of what they are of."""
    monkeypatch.setattr(report, "plot_html", str)
    monkeypatch.setattr(report, "curve_plot", lambda parts, grid, axis, dataset, metrics: (axis.name, *metrics))
    monkeypatch.setattr(report, "heat_plot", lambda grid, axes, column, dataset: f"map of {column}")


@pytest.mark.usefixtures("plain_plots")
def test_grids_are_plotted_on_each_dataset_up_to_a_number_of_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for a in (0, 1):
        for b in (0, 1):
            results.run("one", "iprm", 0, values={"alpha": a, "other": b})
        results.run("one", "bss", 0, values={"beta": a})
    runs = load(tmp_path / "one")
    monkeypatch.setattr(report, "MANY", len(runs))
    blocks = report._curves(Parts(runs))
    hint = "Click a modality in the legend to show it. Hollow: fewer seeds than the others."
    cut = " The other varied hyperparameters are at the chosen configuration."
    assert [block.heading.partition(": ")[2] for block in blocks] == [
        "α (alpha) and other",
        "α (alpha)",
        "other",
        "β (beta)",
    ]
    assert [block.plot for block in blocks] == [
        "map of test_accuracy", *(str((name, *report.METRICS)) for name in ("alpha", "other", "beta"))
    ]  # fmt: skip
    assert blocks[0].heading == "iprm on digits: α (alpha) and other"
    assert blocks[1].text.startswith("α (alpha): ")
    assert [block.text.endswith(hint + cut) for block in blocks] == [False, True, True, False]
    assert (blocks[2].text, blocks[3].text.endswith(hint)) == (hint + cut, True)
    monkeypatch.setattr(report, "MANY", len(runs) - 1)
    assert report._curves(Parts(runs))[-1].plot == "('beta', 'accuracy')"
    for most, drawn in ((2, 2), (3, 3), (4, 4), (5, 4)):
        monkeypatch.setattr(report, "MOST_PLOTS", most)
        *kept, last = report._curves(Parts(runs))
        noted = last.text == f"The first {most} curves are drawn; the tables have the others."
        assert (len(kept) + (not noted), noted) == (drawn, most < 5)
    unknown = runs.drop(columns=[c for c in runs if "accuracy" in c])
    assert len(report._curves(Parts(unknown))) == 3


def test_runs_are_counted_by_status_with_causes_and_what_is_bad_news() -> None:
    runs = pd.DataFrame({"hash": [*"abcdee"], "status": ["done", "failed", "failed", "diverged", "running", "running"]})
    runs["cause"] = [None, "memory", None, None, None, None]
    assert report._counts(runs.assign(attempts=[1, 2, None, 3, 1, 1]), 1, 2) == [
        ("1 done", False),
        ("2 failed (1 error, 1 memory)", True),
        ("1 diverged", True),
        ("0 pruned", False),
        ("1 running", False),
        ("0 missing", False),
        ("1 configuration out of the race", False),
        ("2 configurations N/A", False),
        ("2 started more than once", False),
    ]
    good = [("1 done", False), *((f"0 {word}", False) for word in ("failed", "diverged", "pruned", "missing"))]
    assert report._counts(runs.iloc[:1], 0, 0) == good
    assert report._counts(runs.iloc[:1].assign(attempts=1), 2, 1)[-2:] == [
        ("2 configurations out of the race", False),
        ("1 configuration N/A", False),
    ]


def test_learning_is_plotted_of_each_dataset_that_finished_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "plot_html", str)
    monkeypatch.setattr(report, "learning_plot", lambda rows, epochs: f"{len(epochs)} epochs" if len(epochs) else None)
    runs = pd.DataFrame({"dataset": ["b"] * 24 + ["a"] * 25 + ["c"], "configuration": [*range(24), *range(25), 0]})
    epochs = pd.DataFrame({"dataset": [*"aab"]})
    first, second = report._learning(runs, epochs)
    assert [(block.heading, block.plot) for block in (first, second)] == [("b", "1 epochs"), ("a", "2 epochs")]
    assert first.text.endswith("other metrics, loss, diagnostics.")
    assert second.text == f"{first.text} The 24 best configurations on validation data are drawn."


def test_a_search_is_shown_with_its_objective_where_it_has_several(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(several: bool) -> SimpleNamespace:
        return SimpleNamespace(title="validation accuracy (%)", is_one_of_several=several, label="igm", dataset="d")

    monkeypatch.setattr(report, "plot_html", lambda plot: f"plot {plot}")
    monkeypatch.setattr(report, "search_results", lambda folder, metric: [search(False), search(True)])
    monkeypatch.setattr(report, "search_plots", lambda search: [("History", 1), ("Importances", 2), ("Slices", "none")])
    monkeypatch.setattr(report, "effect_blocks", lambda search: [report.Block("effects")])
    blocks = report._search(Path(), "accuracy")
    assert [block.heading for block in blocks[:4]] == [
        "igm on d: history", "igm on d: importances", "igm on d: slices", "effects"
    ]  # fmt: skip
    assert blocks[4].heading == "igm on d: history (validation accuracy (%))"
    assert [(block.text, block.plot) for block in blocks[:3]] == [
        ("", "plot 1"), (report.IMPORTANCE_NOTE, "plot 2"), ("none", "")
    ]  # fmt: skip


def test_figures_of_other_metrics_are_linked_and_tables_where_they_are(tmp_path: Path) -> None:
    saved = [
        gallery.Saved(f"{kind}-{shown}", "A caption.", kind, shown)  # type: ignore[arg-type]
        for kind in ("curve", "pareto")
        for shown in (True, False)
    ]
    target = tmp_path / "report"
    (target / "figures").mkdir(parents=True)
    for figure in saved:
        (target / "figures" / f"{figure.stem}.png").write_bytes(b"drawn")
    (pareto,) = report._pictures(saved, target, "pareto")
    assert (pareto.image, pareto.caption) == ("data:image/png;base64,ZHJhd24=", "A caption.")
    assert pareto.links == tuple((form.upper(), f"figures/pareto-True.{form}") for form in ("pdf", "svg", "png"))
    blocks = report._figures(gallery.Gallery(saved, 0), target)
    assert [(block.links[0][1], bool(block.image)) for block in blocks] == [
        ("figures/curve-True.pdf", True), ("figures/curve-False.pdf", False), ("figures/pareto-False.pdf", False)
    ]  # fmt: skip
    for name in ("runs.csv", "epochs.parquet"):
        (tmp_path / name).touch()
    *_, left, tables = report._figures(gallery.Gallery([], 3), target)
    assert left.text.startswith("Further figures, of other metrics and methods, are not drawn")
    assert (tables.heading, tables.links) == (
        "Tables", (("runs.csv", "../runs.csv"), ("epochs.parquet", "../epochs.parquet"))
    )  # fmt: skip
