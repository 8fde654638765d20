"""``python -m sweep init``: a file to start from."""

from __future__ import annotations

from pathlib import Path

from support.command_desk import Desk


def test_init_writes_a_file_that_validates_and_never_overwrites(desk: Desk) -> None:
    code, out, _ = desk.run("init")
    assert code == 0
    assert "wrote sweeps.yaml" in out
    assert desk.run("validate")[0] == 0
    assert desk.run("run", "first", "second", "--dry-run")[0] == 0
    code, _, err = desk.run("init")
    assert code == 2
    assert "exists already" in err


def test_paths_are_told_as_they_are(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / ("ä long name " * 12) / "of [red] words.yaml"
    file.parent.mkdir()
    assert f"wrote {file}; try: " in desk.run("init", "--file", str(file))[1]
    assert f"# Check this file with:   python -m sweep validate --file '{file}'\n" in file.read_text()
    code, _, err = desk.run("init", "--file", "absent/mine.yaml")
    assert (code, err) == (2, "absent: no such folder; make it, or give another file with --file\n")
    assert desk.run("validate", "--file", str(file))[1] == f"{file}: 2 sweeps, no mistakes\n"
