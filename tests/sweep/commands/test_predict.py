"""``python -m sweep predict``: a table on disk, and the scores where labels are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.built_model import write_built_model
from support.command_desk import Desk
from support.toy_dataset import toy_dataset

from sweep.commands.main import main


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


def test_a_table_in_no_folder_is_refused_before_anything_is_predicted(tmp_path: Path) -> None:
    code, _, err = Desk(tmp_path).run("predict", "nowhere", "--output", "absent/p.csv")
    assert (code, err) == (2, "absent: no such folder; make it, or give another file with --output\n")


def test_arrays_of_a_file_are_predicted_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    test, model = toy_dataset().test, str(write_built_model(tmp_path / "m"))
    arrays = {name: np.asarray(values) for name, values in test.inputs.items()}
    np.savez("known.npz", labels=np.asarray(test.labels), **arrays)
    np.savez("new.npz", **arrays)
    assert main(["predict", model, "known.npz", "--output", "t.csv", "--without", "video"]) == 0
    first, *scores = capsys.readouterr().out.splitlines()
    table = pd.read_csv("t.csv")
    assert first == "t.csv: 22 predictions"
    assert list(table)[:4] == ["sample", "prediction", "probability", "label"]
    assert "prediction_video" not in table
    right = (table["prediction"] == table["label"]).mean()
    assert f"accuracy: {100 * right:.1f} %" in scores
    assert any(line.startswith("macro f1 audio: ") for line in scores)
    np.savez("mine.npz", split=np.array(["train"] * 22), **arrays)
    assert main(["predict", model, "new.npz"]) == 0
    assert capsys.readouterr().out == "predictions.csv: 22 predictions\n"
    assert main(["predict", model, "mine.npz"]) == 0
    noted = "mine.npz: split is not looked at: all 22 samples are predicted"
    assert capsys.readouterr().out.splitlines() == [noted, "predictions.csv: 22 predictions"]
    for words in (["known.npz", "new.npz"], ["new.npz", "root=x"]):
        assert main(["predict", model, *words]) == 2
        assert "give one npz file, or options of the dataset, not both" in capsys.readouterr().err
