"""Runs that earlier code trained are told wherever they count: by run, dry run, show, list and the report."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.command_desk import Desk

SWEEP: dict[str, Any] = {
    "method": "joint",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 100}},
    "seeds": [0, 1, 2],
    "epochs": 1,
    "references": False,
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A folder in which a sweep of three runs has run; one of them is then of code with another models/."""
    desk = Desk(tmp_path_factory.mktemp("earlier"))
    desk.write(s=SWEEP)
    code, _, err = desk.run("run", "s", "--local")
    assert (code, err) == (0, "")
    record = desk.finished()[0].with_name("environment.json")
    environment = json.loads(record.read_text(encoding="utf-8"))
    environment["code"] = environment["folders"]["models"] = "0" * 16
    record.write_text(json.dumps(environment), encoding="utf-8")
    return desk


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["run", "s", "--local", "--no-report"],
            "1 runs were kept that earlier code trained: since then models/ changed",
        ),
        (["run", "s", "--dry-run"], "s: 1 of the runs held are of earlier code: since then models/ changed; --force"),
        (["show", "s"], "1 runs are of earlier code: since then models/ changed"),
        (["list", "sweeps"], "3, 1 of earlier code"),
        (["clean", "--stale", "--dry-run"], "1 runs of earlier code: "),
    ],
)
def test_a_command_tells_of_the_run_and_of_what_changed(desk: Desk, words: list[str], told: str) -> None:
    code, out, err = desk.run(*words)
    assert (code, err) == (0, "")
    assert told in " ".join(out.split())


def test_the_report_tells_at_its_top_which_means_mix_code(desk: Desk) -> None:
    page = desk.folder / "results" / "s" / "report" / "index.html"
    assert "runs of different code" not in page.read_text(encoding="utf-8")
    assert desk.run("report", "s")[0] == 0
    text = page.read_text(encoding="utf-8")
    told = "joint on digits: its mean mixes 2 and 1 runs of different code (models/ changed between them)"
    assert told in text
    assert text.index(told) < text.index("<section"), "before every number"


def test_force_trains_it_again(desk: Desk) -> None:
    code, _, err = desk.run("run", "s", "--local", "--no-report", "--force")
    assert (code, err) == (0, "")
    assert "of earlier code" not in desk.run("show", "s")[1]
