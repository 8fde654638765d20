"""``python -m sweep predict``: a table on disk, and the scores where labels are known."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from support.command_desk import Desk


def test_a_split_is_predicted_without_a_modality(trained_desk: Desk) -> None:
    assert trained_desk.run("export", "s", "--label", "aug", "--to", "model")[0] == 0
    code, out, err = trained_desk.run("predict", "model", "--split", "validation", "--without", "profile")
    assert (code, err) == (0, "")
    table = pd.read_csv(trained_desk.folder / "predictions.csv")
    assert len(table) > 50
    assert f"predictions.csv: {len(table)} predictions" in out
    accuracy = (table["prediction"] == table["label"]).mean()
    assert f"accuracy: {100 * accuracy:.1f} %" in out


def test_a_folder_without_a_model_is_a_mistake(tmp_path: Path) -> None:
    code, _, err = Desk(tmp_path).run("predict", "nowhere")
    assert code == 2
    assert "holds no model" in err


def test_a_file_and_options_of_the_dataset_exclude_each_other(tmp_path: Path) -> None:
    code, _, err = Desk(tmp_path).run("predict", "nowhere", "a.npz", "root=b")
    assert code == 2
    assert "not both" in err
