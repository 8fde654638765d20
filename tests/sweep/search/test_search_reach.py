"""What a search can see: the validation split. Every file that the driver opens is watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.command_desk import Desk
from support.prepared_commands import commands

WATCH = """
import os, sys
reads = []
def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith(("test.json", "predictions.npz")):
        flags = arguments[2]
        if flags is None or flags & (os.O_WRONLY | os.O_RDWR) == 0:
            reads.append(str(arguments[0]))
sys.addaudithook(watch)
def count():
    print("READ", len(reads))
    reads.clear()
"""
RUN = "from sweep.commands.main import main; assert main({words}) == 0; count()\n"
LOAD = "from sweep.results import load; load({words}[0]); count()\n"


def watched(folder: Path, *doing: str) -> list[int]:
    """How often each of some pieces of code opens a test.json or predictions.npz for reading, in one process."""
    code, out, err = commands.run_code(WATCH + "".join(doing), folder=folder)
    assert code == 0, err
    return [int(line.removeprefix("READ ")) for line in out.splitlines() if line.startswith("READ ")]


def test_a_search_with_early_stopping_and_report_seeds_never_opens_a_test_metric(tmp_path: Path) -> None:
    sweep: dict[str, Any] = {
        "method": "iprm",
        "datasets": ["digits"],
        "data": {"digits": {"train_samples": 200}},
        "vary": {"alpha": "auto", "train.lr": {"loguniform": [0.01, 0.2]}},
        "search": {"algorithm": "tpe", "configurations": 3, "batch": 2},
        "seeds": [0, 1],
        "report_seeds": [100],
        "scheduler": {"name": "asha", "grace": 1, "reduction": 2},
        "references": False,
        "epochs": 2,
    }
    Desk(tmp_path).write(s=sweep)
    words = ["run", "s", "--local", "--no-report"]
    # Resuming reads what has been done, extending the search goes on from it.
    resumed = RUN.format(words=[*words, "search.configurations=4"])
    tables = LOAD.format(words=["results/s"])
    searched, extended, loaded = watched(tmp_path, RUN.format(words=words), resumed, tables)
    assert (searched, extended) == (0, 0)
    tests = list((tmp_path / "results/runs").glob("*/test.json"))
    assert len(tests) >= 4
    assert all(path.with_name("predictions.npz").exists() for path in tests)
    assert "test_accuracy" in json.loads(tests[0].read_text())["metrics"]
    # Tables of results do, so the watch sees what it should.
    assert loaded >= len(tests)
