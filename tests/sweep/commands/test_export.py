"""``python -m sweep export``: it says which run the model is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.built_model import write_built_model
from support.command_desk import Desk
from support.synthetic_results import Results

from sweep.commands import export
from sweep.commands.main import main
from sweep.inference.model import ModelCard
from sweep.runs.store import Store


def test_the_command_names_the_run_that_it_exports(trained_desk: Desk) -> None:
    code, out, err = trained_desk.run("export", "s", "--label", "aug", "--to", "model")
    assert (code, err) == (0, "")
    card = json.loads((trained_desk.folder / "model" / "model.json").read_text())
    assert card["label"] == "aug"
    assert out.startswith(f"model: aug on digits, run {card['hash']}, seed {card['run']['seed']}, epoch ")
    assert f"validation accuracy {100 * card['validation']['validation_accuracy']:.1f} %" in out


def test_what_cannot_be_exported_is_a_mistake_with_a_remedy(trained_desk: Desk) -> None:
    code, _, err = trained_desk.run("export", "s", "--label", "iprn")
    assert code == 2
    assert "did you mean iprm" in err


def test_what_is_asked_for_is_exported_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path / "results")
    results.sweep("one")
    card = ModelCard.model_validate_json((write_built_model(tmp_path / "m") / "model.json").read_bytes())
    card = card.model_copy(update={"validation": {"validation_accuracy": 0.12345}})
    asked = list[tuple[Any, ...]]()

    def exported(store: Store, name: str, target: Path, **keys: Any) -> ModelCard:
        asked.append((name, target, keys))
        return card

    monkeypatch.setattr(export, "export_model", exported)
    words = ["export", "one", "--results", str(results.path)]
    none = {"run": None, "label": None, "dataset": None}
    assert main(words) == 0
    assert main([*words, "--to", "x", "--run", "01", "--label", "l", "--dataset", "d"]) == 0
    assert asked == [
        ("one", Path("exports/one"), none), ("one", Path("x"), {"run": "01", "label": "l", "dataset": "d"})
    ]  # fmt: skip
    said = "joint on digits, run 0123, seed 0, epoch 1, validation accuracy 12.3 %"
    assert capsys.readouterr().out.splitlines() == [f"exports/one: {said}", f"x: {said}"]
    assert main(["export", "two", "--results", str(results.path)]) == 2
