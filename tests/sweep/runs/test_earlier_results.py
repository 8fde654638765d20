"""Results that version 0.1.0 wrote: read, shown, resumed beside and replayed by every later one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command_desk import Desk

from sweep.results.tables import load
from sweep.runs.identity import configuration_hash, run_hash
from sweep.runs.store import Store
from sweep.training.numerics import NUMERICS

EARLIER = Path(__file__).with_name("earlier_results")
HASHES = sorted(path.name for path in (EARLIER / "runs").iterdir())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A folder with those results, and the sweeps file that they are results of."""
    found = Desk(tmp_path)
    shutil.copytree(EARLIER, tmp_path / "results")
    (tmp_path / "sweeps.yaml").write_bytes((EARLIER / "earlier" / "sweep.yaml").read_bytes())
    return found


@pytest.mark.parametrize("name", HASHES)
def test_a_record_is_read_whole_and_keeps_its_identity(name: str) -> None:
    folder = Store(EARLIER).run(name)
    run, final, environment = folder.config(), folder.final(), folder.environment()
    assert run is not None
    assert final is not None
    assert environment is not None
    assert (final.status, run.numerics, environment.folders) == ("done", 0, {})
    assert len(folder.epochs()) == run.epochs
    assert run_hash(run) == name


def test_the_tables_hold_every_run() -> None:
    rows, epochs = load(EARLIER), load(EARLIER, "epoch")
    assert sorted(rows["hash"]) == HASHES
    assert rows["status"].eq("done").all()
    assert rows["test_accuracy"].between(0, 1).all()
    assert len(epochs) == rows["epochs"].sum()
    store = Store(EARLIER)
    for row in rows.to_dict("records"):
        run = store.run(row["hash"]).config()
        assert run is not None
        assert configuration_hash(run) == row["configuration"]


@pytest.mark.usefixtures("one_figure")
def test_its_report_is_written_and_its_runs_are_told_and_removed_as_earlier_ones(desk: Desk) -> None:
    code, out, err = desk.run("report", "earlier")
    assert (code, err) == (0, "")
    assert (desk.folder / "results" / "earlier" / "report" / "index.html").exists()
    code, out, err = desk.run("show", "earlier")
    assert (code, err) == (0, "")
    assert "8 runs are of earlier code: since then code of an unknown folder, " in out
    code, out, err = desk.run("list", "sweeps")
    assert (code, err) == (0, "")
    assert "8, 8 of earlier code" in out
    code, out, err = desk.run("run", "earlier", "--dry-run")
    assert (code, err) == (0, "")
    # As many again, by another version of the identity, and the references that a sweep has had since.
    assert "14 runs to train, 0 held" in out
    assert "11 runs of earlier code: " in desk.run("clean", "--stale", "--dry-run")[1]
    assert len(desk.finished()) == 11
    assert "11 runs of earlier code: " in desk.run("clean", "--stale")[1]
    assert desk.finished() == []


def test_a_run_is_trained_again_from_its_record_alone(desk: Desk) -> None:
    code, out, err = desk.run("replay", HASHES[0], "--local")
    assert code == 0, err
    assert f"(version 0, now {NUMERICS}) changed" in out
    assert "35 numbers, reproduced" in out
