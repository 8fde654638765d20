"""The page opens offline and says what the runs say; the terminal table is small."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers_results import Results, alpha_sweep, noisy, references
from rich.console import Console

from sweep import gallery
from sweep.findings import findings
from sweep.report import report, summary_table
from sweep.report_plots import band_outline, curve_plot
from sweep.report_runs import budget_blocks, short_of_plan
from sweep.results import ResultsError, load
from sweep.shape import Shape
from sweep.standing import Asked


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
        page = report(path, "iprm-alpha")
    assert page == path / "iprm-alpha" / "report" / "index.html"
    return path, page.read_text(encoding="utf-8")


def frames(folder: Path) -> tuple[Shape, pd.DataFrame]:
    return Shape(load(folder)), load(folder, "epoch")


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
        "p (Holm)",
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
    assert "<td>1.2 ± 0.0</td>" in row


def test_the_chosen_row_is_marked(written: tuple[Path, str]) -> None:
    marked = re.findall(r'<tr class="best">\s*<td>(.*?)</td>', written[1])
    assert marked == ["iprm: alpha=0.7"]


def test_plots_have_series_of_each_modality(written: tuple[Path, str]) -> None:
    assert written[1].count("Plotly.newPlot") >= 2
    for name in ("fused", "left", "profile", "joint + unimodal losses", "validation macro-F1 (%)", "lambda"):
        assert f'"{name}"' in written[1]


def test_a_band_has_a_gap_where_no_interval_is_known() -> None:
    nan = math.nan
    x, y = band_outline(np.arange(5.0), np.array([1, 2, nan, 4, 5]), np.array([2, 3, nan, 5, 6]))
    assert x == pytest.approx([0, 1, 1, 0, nan, 3, 4, 4, 3, nan], nan_ok=True)
    assert y == pytest.approx([2, 3, 2, 1, nan, 5, 6, 5, 4, nan], nan_ok=True)


def test_the_terminal_table_is_small_and_counts_what_is_lacking(written: tuple[Path, str]) -> None:
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    table = summary_table(load(written[0] / "iprm-alpha"))
    assert table.row_count == 11
    console.print(table)
    text = console.export_text()
    assert re.search(r"iprm: alpha=0.4\s+│ digits\s+│ 2 \(of 4\)", text)
    assert "joint (reference)" in text
    assert "test accuracy profile" in text


def test_findings_name_the_hyperparameter_and_the_comparison(written: tuple[Path, str]) -> None:
    first, second = findings(Shape(load(written[0] / "iprm-alpha")))
    assert first.startswith("iprm, α (alpha) on digits: ")
    assert second.startswith("Of 10 configurations compared with joint training")


def test_a_sweep_without_a_single_end_still_has_a_report(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one", "")
    results.run("one", "iprm", 0, values={"alpha": 0.1}, status="missing")
    results.run("one", "iprm", 0, values={"alpha": 0.2}, status="failed", reason="boom")
    assert "boom" in report(tmp_path, "one").read_text(encoding="utf-8")
    assert summary_table(load(tmp_path / "one")).row_count == 2


def test_no_report_without_results(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no results"):
        report(tmp_path, "absent")


def test_failures_are_counted_by_cause_and_retries_told(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0, status="failed", reason="CUDA out of memory", cause="memory")
    results.run(
        "one", "iprm", 1, status="failed", reason="took 61 s", cause="timeout", attempts=2, failures=["took 60 s"]
    )
    results.run("one", "iprm", 2, attempts=3, failures=["its process 7 was killed", "its process 8 was killed"])
    results.run("one", "iprm", 3, attempts=2)
    text = " ".join(" ".join(Page(report(tmp_path, "one").read_text(encoding="utf-8")).words).split())
    for expected in (
        "2 failed (1 memory, 1 timeout)",
        "3 started more than once",
        "failed memory CUDA out of memory 1",
        "3 runs were started more than once (2 done, 1 failed in the end)",
        "its process 7 was killed 1",
        "interrupted: went on from its last checkpoint 1",
    ):
        assert expected in text


def test_budgets_stand_side_by_side(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for alpha in (0.1, 0.2):
        for seed in range(2):
            results.run("one", "iprm", seed, values={"alpha": alpha}, forward_passes=5000.0)
    references(results, "one", range(2))
    block = budget_blocks(load(tmp_path / "one"), Asked(None, None, (), 2, "", 8), 0)[0]
    assert block.table is not None
    assert [row[:9] for row in block.table.rows] == [
        ["iprm", "digits", "2", "2", "4", "3", "12", "7,200", "20,000"],
        ["joint (reference)", "digits", "1", "2", "2", "3", "6", "3,600", "3,600"],
        ["joint + unimodal losses (reference)", "digits", "1", "2", "2", "3", "6", "3,600", "3,600"],
    ]


def test_a_spent_budget_is_said(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0)
    results.run("one", "iprm", 1, status="pruned")
    runs = load(tmp_path / "one")
    said = short_of_plan(runs, Asked(None, None, (), 2, "2 runs", 9), 1)
    assert said is not None
    assert said.startswith("2 of at most 9 runs that the sweep asks for have ended.")
    assert "a budget of 2 runs a driver, early stopping, a race that 1 configurations left" in said
    assert short_of_plan(runs, Asked(None, None, (), 2, "2 runs", 2), 0) is None
    assert short_of_plan(runs, Asked(None, None, (), 2, "", None), 0) is None


def test_a_pruned_value_is_no_part_of_the_verdict_unsaid(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for alpha in (0.1, 0.2, 0.3):
        for seed in range(3):
            status = "pruned" if alpha == 0.3 else "done"
            results.run("one", "iprm", seed, noisy(seed, 0.9 - alpha, 0.8, 0.5), values={"alpha": alpha}, status=status)
    shape = Shape(load(tmp_path / "one"))
    assert "1 value was stopped early and left out" in findings(shape)[0]
    plot = curve_plot(shape, shape.grids[0], shape.grids[0].axes[0], "digits")
    (mark,) = [
        trace for trace in plot.data if trace.name == "pruned, or no finished run" and trace.visible is not False
    ]
    assert (list(mark.x), list(mark.text)) == ([0.3], ["pruned"])


def test_a_large_sweep_has_bounded_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha_sweep(tmp_path)
    monkeypatch.setattr(gallery, "LARGE", 10)
    monkeypatch.setattr(gallery, "MOST_OF_LARGE", 1)
    drawn = gallery.save_figures(tmp_path / "iprm-alpha", *frames(tmp_path / "iprm-alpha"))
    assert [figure.stem for figure in drawn.saved] == ["alpha-accuracy"]
    assert drawn.left > 0
