"""The figure of absent modalities."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas as pd
from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.report.figures.subsets import draw_subsets
from sweep.results.tables import load


def recorded(folder: Path, names: tuple[str, ...]) -> Parts:
    """Two methods whose runs record the accuracy with each part of the modalities."""
    subsets = ["none"] + ["+".join(each) for n in range(1, len(names) + 1) for each in itertools.combinations(names, n)]
    made = Results(folder)
    made.sweep("s")
    for place, (method, role) in enumerate((("joint", "sweep"), ("iprm", "sweep"), ("iprm", "report"))):
        for seed in range(2):
            path = made.run("s", method, seed + 100 * (role == "report"), role=role) / "test.json"
            record = json.loads(path.read_text())
            levels = {f"test_subset_{name}": 0.1 + 0.04 * n + 0.01 * seed for n, name in enumerate(subsets)}
            record["metrics"] |= {name: level + 0.1 * place for name, level in levels.items()}
            path.write_text(json.dumps(record))
    return Parts(load(folder / "s"))


def test_subsets_look_as_before(tmp_path: Path) -> None:
    (drawing,) = draw_subsets(recorded(tmp_path, ("left", "profile")))
    assert_looks_as_before("subsets", drawing.figure, drawing.caption)


def test_of_many_subsets_those_of_one_modality_and_of_all_are_drawn(tmp_path: Path) -> None:
    (drawing,) = draw_subsets(recorded(tmp_path, ("a", "b", "c", "d")))
    labels = drawing.figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["no modality", "a", "b", "c", "d", "a + b + c + d"]


def test_the_files_of_several_datasets_are_named_without_blanks_and_points(tmp_path: Path) -> None:
    runs = recorded(tmp_path, ("left", "profile")).runs
    several = pd.concat([runs, runs.assign(dataset="digits at left drop 0.5")], ignore_index=True)
    assert [drawing.stem for drawing in draw_subsets(Parts(several))] == [
        "subsets-digits",
        "subsets-digits-at-left-drop-0-5",
    ]
