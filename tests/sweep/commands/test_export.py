"""``python -m sweep export``: it says which run the model is of."""

from __future__ import annotations

import json

from support.command_desk import Desk


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
