"""One damaged file of each kind and manner: the next driver trains those runs again, and the table is as before."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.small_runs import make_plan

from sweep.config import Sweep, load
from sweep.engine.execute import Execution, execute
from sweep.engine.on_ray.session import RaySession
from sweep.engine.tally import Tally
from sweep.results import tables

DAMAGE: list[tuple[str, bytes | None]] = [
    ("test.json", None),
    ("test.json", b""),
    ("test.json", b'{"metrics": {"test_accuracy": 0.'),
    ("test.json", b'{"metrics": {"test_accuracy": "high"}}'),
    ("config.json", None),
    ("config.json", b'{"method": "joint", "hyper'),
    ("config.json", b"[]"),
    ("final.json", b"\0\0\0"),
    ("final.json", b'{"status": "over"}'),
]
SAME = ("hash", "status", "seed", "test_accuracy", "validation_accuracy", "epochs_trained")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    make_plan(
        tmp_path,
        method="joint",
        data={"digits": {"train_samples": 40}},
        epochs=1,
        seeds=list(range(len(DAMAGE))),
    )
    return load(tmp_path / "sweeps.yaml")[0]


def run(sweep: Sweep, folder: Path, out: Console) -> Tally:
    with RaySession() as ray:
        return execute(sweep, folder / "results", Execution(local=True), ray, out)


def said(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def table(folder: Path) -> list[dict[Any, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return tables.load(folder / "results/s")[list(SAME)].to_dict("records")


def test_runs_with_damaged_records_are_trained_again_to_the_same_table(sweep: Sweep, tmp_path: Path) -> None:
    out = Console(file=io.StringIO())
    assert run(sweep, tmp_path, out).done == len(DAMAGE)
    assert "not ended" not in said(out)
    before = table(tmp_path)
    for row, (name, content) in zip(before, DAMAGE, strict=True):
        path = tmp_path / "results/runs" / row["hash"] / name
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    with pytest.warns(UserWarning, match="cannot be read .* run the sweep again"):
        assert set(tables.load(tmp_path / "results/s")["status"]) == {"running"}
    for other in ("index.jsonl", "sweep.yaml"):
        (tmp_path / "results/s" / other).write_bytes(b'{"hash": "..\xff')
    first = tmp_path / "results/runs" / before[0]["hash"] / "test.json"
    warning = (
        f"s: {len(DAMAGE)} runs count as not ended, as a record of each is missing or cannot be read (first: {first}): "
        "run trains them again"
    )
    tally = run(sweep, tmp_path, out)
    assert (tally.done, tally.kept) == (len(DAMAGE), 0)
    assert said(out).splitlines().count(warning) == 1
    assert table(tmp_path) == before
    assert run(sweep, tmp_path, out).kept == len(DAMAGE)
    assert said(out).count("not ended") == 1
