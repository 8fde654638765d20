"""``python -m sweep replay``: a run comes out alike, or the command says what differs."""

from __future__ import annotations

import json

from support.command_desk import Desk


def test_a_run_is_reproduced_and_a_changed_record_is_found_out(trained_desk: Desk) -> None:
    folder = next(path for path in sorted(trained_desk.folder.glob("results/runs/*")))
    code, out, err = trained_desk.run("replay", folder.name[:10], "--local")
    assert (code, err) == (0, "")
    assert "numbers, reproduced" in out
    record = json.loads((folder / "final.json").read_text())
    record["metrics"]["validation_accuracy"] += 0.01
    (folder / "final.json").write_text(json.dumps(record))
    code, out, _ = trained_desk.run("replay", folder.name[:10], "--local")
    assert code == 1
    assert "NOT reproduced: 1 differ" in out


def test_an_unknown_run_is_a_mistake(trained_desk: Desk) -> None:
    code, _, err = trained_desk.run("replay", "nothing", "--local")
    assert code == 2
    assert "no single run" in err
