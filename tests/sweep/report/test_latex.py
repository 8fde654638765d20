"""Tables as LaTeX: escaped, the best in bold, what is not shown to differ marked."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from support.synthetic_results import alpha_sweep

from sweep.analysis.parts import Parts
from sweep.analysis.standings import standings
from sweep.report.blocks import Table
from sweep.report.latex import NOT_SHOWN, escaped, latex_standings, latex_table
from sweep.results.tables import load


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a_b & c%", r"a\_b \& c\%"),
        ("91.2 ± 0.9", r"91.2 $\pm$ 0.9"),
        ("-2.5", "$-$2.5"),
        ("p < 0.001", "p $<$ 0.001"),
        ("joint-x {1}", r"joint-x \{1\}"),
        ("\\", r"\textbackslash{}"),
        ("[mine]* | yours", r"{[}mine]{*} \textbar{} yours"),
    ],
)
def test_text_is_printed_as_it_is(text: str, written: str) -> None:
    assert escaped(text) == written


def test_a_table_has_rules_a_caption_and_bold_cells() -> None:
    written = latex_table(Table(["a", "b_c"], [["x", "1"], ["y", "2"]], note="100 %."), "What.", "one", {(1, 1)})
    assert r"\toprule" in written
    assert r"\caption{What. 100 \%.}" in written
    assert "a & b\\_c \\\\" in written
    assert "x & 1 \\\\\ny & \\textbf{2} \\\\" in written
    assert r"\label{tab:one}" in written


def test_the_largest_mean_of_each_dataset_is_bold_and_so_are_those_that_equal_it() -> None:
    nan = math.nan
    rows = [("a", "x", 0.9, nan), ("b", "x", 0.9 + 1e-12, nan), ("c", "x", 0.8, nan), ("d", "y", 0.5, 0.4)]
    ends = {f"{name}_{end}": nan for name in ("validation", "test", "weak", "imbalance") for end in ("low", "high")}
    plain = {"point": "", "baseline": False, "fresh": False, "of": 1, "n": 3, "seeds": 3, "weak_modality": ""}
    plain |= {"weak": nan, "imbalance": nan, "cost": nan, "tuning": nan, "tuning_high": nan, **ends}
    for name in ("joint", "unimodal", "ensemble"):
        plain |= {name: nan, f"{name}_high": nan, f"{name}_verdict": ""}
    table = pd.DataFrame(
        [{"label": a, "dataset": d, "validation": v, "test": t, **plain} for a, d, v, t in rows]
    ).assign(joint=[0.1, nan, nan, nan], joint_verdict=["cannot be judged", "", "", ""])
    written = latex_standings(table, "", "x")
    bold = [line.count(r"\textbf") for line in written.splitlines() if line[:3] in ("a &", "b &", "c &", "d &")]
    assert bold == [1, 1, 0, 2]
    assert f"10.0{NOT_SHOWN}" in written.replace("+", "")
    assert written.count(NOT_SHOWN) == 2  # in its place, and explained


def test_standings_mark_what_is_not_shown_and_the_largest_mean(tmp_path: Path) -> None:
    alpha_sweep(tmp_path, failing=False)
    table = standings(Parts(load(tmp_path / "iprm-alpha"))).assign(
        joint_verdict=["better", "no difference shown", ""], unimodal_verdict=["", "worse", "worse"]
    )
    written = latex_standings(table, "", "x")
    lines = [line for line in written.splitlines() if line.endswith(r"\\")][1:]
    assert [line.count(NOT_SHOWN) for line in lines] == [0, 1, 0]
    assert [line.count(r"\textbf") for line in lines] == [2, 0, 0]
    assert "shown" not in "".join(lines)
