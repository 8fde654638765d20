"""The page opens offline and says what the runs say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.synthetic_results import Results, alpha_sweep

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
