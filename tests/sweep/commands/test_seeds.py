"""``python -m sweep seeds``: a line a dataset, or what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.synthetic_results import Results, alpha_sweep

from sweep.commands.exit_codes import DONE, MISTAKE
from sweep.commands.main import main


def test_a_sweep_says_how_many_seeds_a_difference_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alpha_sweep(tmp_path)
    assert main(["seeds", "iprm-alpha", "--results", str(tmp_path), "--difference", "2"]) == DONE
    out = capsys.readouterr().out
    assert out.startswith("iprm-alpha on digits: test accuracy of 10 configurations beside joint training")
    assert "one of 2 points needs" in out


@pytest.mark.parametrize("difference", ["0.01", "0.5", "99.5"])
def test_a_small_and_a_large_difference_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], difference: str
) -> None:
    alpha_sweep(tmp_path)
    assert main(["seeds", "iprm-alpha", "--results", str(tmp_path), "--difference", difference]) == DONE
    assert f"one of {difference} points needs" in capsys.readouterr().out


@pytest.mark.parametrize("difference", ["0", "-1", "nan", "100"])
def test_a_difference_that_is_none_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], difference: str
) -> None:
    assert main(["seeds", "x", "--results", str(tmp_path), "--difference", difference]) == MISTAKE
    assert "give points above 0 and below 100" in capsys.readouterr().err


def test_a_sweep_of_unknown_noise_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0)
    assert main(["seeds", "one", "--results", str(tmp_path)]) == MISTAKE
    assert "under two common seeds or more" in capsys.readouterr().err.replace("\n", " ")
