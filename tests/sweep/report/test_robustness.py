"""Severities on the page: a table a corruption, in its own section."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.corrupted_results import noisier_and_noisier

from sweep.analysis.parts import Parts
from sweep.analysis.robustness import robustness
from sweep.report.figures.gallery import Gallery
from sweep.report.report import write_report
from sweep.report.robustness import robustness_blocks
from sweep.results.tables import load


def test_each_method_stands_with_its_level_at_each_severity_and_what_it_loses(tmp_path: Path) -> None:
    (block,) = robustness_blocks(robustness(Parts(load(noisier_and_noisier(tmp_path)))))
    assert block.heading == "digits: profile noise"
    assert block.table is not None
    noises = [f"profile noise {severity}" for severity in (0, 1, 4)]
    assert block.table.columns == ["method", "n", *noises, "lowest to highest", "minus joint's"]
    rows = {row[0]: row[1:] for row in block.table.rows}
    assert next(iter(rows)) == "iprm"
    assert [cell[:2] for cell in rows["joint"]] == ["3", "90", "82", "74", "-1", "–"]
    assert rows["iprm"][-1].endswith(", better")


def test_the_page_compares_methods_and_chooses_no_severity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noisier_and_noisier(tmp_path, (0, 4))
    (tmp_path / "noise" / "report").mkdir()
    # Figures have tests of their own; here they would take most of the time.
    monkeypatch.setattr("sweep.report.report.save_figures", lambda *found: Gallery([], 0))
    monkeypatch.setattr("sweep.report.report._curves", lambda parts: [])
    monkeypatch.setattr("sweep.report.report._learning", lambda runs, epochs: [])
    page = write_report(tmp_path, "noise").read_text()
    assert "From profile noise 0 to 4 on digits, test accuracy of joint changes by" in page
    assert 'id="severities"' in page
    assert "On digits at profile noise 4 iprm leads" in page
    assert "validation chose data.digits" not in page
