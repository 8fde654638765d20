"""Results that version 0.1.0 wrote: read, shown, resumed beside and replayed by every later one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from desk import Desk

from sweep.identity import configuration_hash, run_hash
from sweep.results import load
from sweep.store import Store

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


def test_its_report_is_written_and_its_runs_are_trained_anew(desk: Desk) -> None:
    code, out, err = desk.run("report", "earlier")
    assert (code, err) == (0, "")
    assert (desk.folder / "results" / "earlier" / "report" / "index.html").exists()
    code, out, err = desk.run("run", "earlier", "--dry-run")
    assert (code, err) == (0, "")
    assert "8 runs to train, 0 held" in out, "by another version of the identity"


def test_a_run_is_trained_again_from_its_record_alone(desk: Desk) -> None:
    code, out, err = desk.run("replay", HASHES[0], "--local")
    assert code == 0, err
    assert "code of method" in out
