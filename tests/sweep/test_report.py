"""The page opens offline and says what the runs say; the terminal table is small."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers_results import alpha_sweep
from rich.console import Console

from sweep import figures
from sweep.findings import findings
from sweep.report import report, summary_table
from sweep.report_plots import band_outline
from sweep.results import ResultsError, load
from sweep.shape import Shape


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
        patch.setattr(figures, "METRICS", ("accuracy",))
        page = report(path, "iprm-alpha")
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
        "2 failed",
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
    from helpers_results import Results

    results = Results(tmp_path)
    results.sweep("one", "")
    results.run("one", "iprm", 0, values={"alpha": 0.1}, status="missing")
    results.run("one", "iprm", 0, values={"alpha": 0.2}, status="failed", reason="boom")
    assert "boom" in report(tmp_path, "one").read_text(encoding="utf-8")
    assert summary_table(load(tmp_path / "one")).row_count == 2


def test_no_report_without_results(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no results"):
        report(tmp_path, "absent")
