"""``python -m sweep replay``: a run comes out alike, or the command says what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command_desk import Desk
from support.small_runs import make_plan, make_run

from sweep.commands import replay as replay_command
from sweep.commands.main import main
from sweep.config import freeze
from sweep.engine.replay import Number, Replay
from sweep.search.replay import Mismatch, StudyReplay


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


# By hand -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False])
def test_numbers_are_told_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], same: bool
) -> None:
    numbers = [Number("accuracy", 0.123456789, 0.123456789), Number("epochs", 3.0, 3.0)]
    numbers += [] if same else [Number("map", 0.5, None), Number("f1", 0.25, 0.5)]
    asked = list[Any]()
    found = Replay("0123", make_run(), numbers, ["models/ changed", "torch was 1, is 2"])
    monkeypatch.setattr(replay_command, "find_run", lambda store, what: asked.append(what) or "0123456789")
    monkeypatch.setattr(
        replay_command,
        "replay",
        lambda store, run, scratch, paths, local, *_: asked.append((run, paths, local)) or found,
    )
    words = ["replay", "01", "root=/x", "--results", str(tmp_path)]
    assert main([*words, "--local"]) == (0 if same else 1)
    assert asked == ["01", ("0123456789", {"root": "/x"}, True)]
    head, *lines, first, second, verdict = capsys.readouterr().out.splitlines()
    assert head.split() == ["recorded", "again"]
    expected = [["accuracy", "0.12345679", "0.12345679"], ["epochs", "3", "3"]]
    expected += [] if same else [["map", "0.5", "missing", "differs"], ["f1", "0.25", "0.5", "differs"]]
    assert [line.split() for line in lines] == expected
    assert (first, second) == ("models/ changed", "torch was 1, is 2")
    assert verdict == f"0123: {len(numbers)} numbers, {'reproduced' if same else 'NOT reproduced: 2 differ'}"
    assert main(words) == (0 if same else 1)
    assert asked[-1] == ("0123456789", {"root": "/x"}, False)


def test_a_search_is_asked_again_study_by_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results" / "s"
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(freeze(make_plan(tmp_path).sweep))
    (folder / "study.journal").touch()
    alike = StudyReplay("s/iprm/digits", asked=4)
    other = StudyReplay("s/joint/digits", 5, 2, [Mismatch(3, {"a": 1}, {"a": 2}, "4.1")])
    for studies, code in (([alike], 0), ([other, alike], 1)):
        monkeypatch.setattr(replay_command, "replay_search", lambda plan, journal, found=studies: found)
        assert main(["replay", "s", "--results", str(tmp_path / "results")]) == code
    assert capsys.readouterr().out.splitlines() == [
        "s/iprm/digits: 4 proposals asked again, 0 differ",
        "s/joint/digits: 5 proposals asked again, 1 differ, 2 moved from an earlier space left out",
        "  3: recorded {'a': 1}, again {'a': 2} (proposed by Optuna 4.1)",
        "s/iprm/digits: 4 proposals asked again, 0 differ",
    ]
