"""``python -m sweep list``: every kind of thing has a table or a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.commands.main import main

SHIPPED = Path(__file__).resolve().parents[3] / "sweeps.yaml"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["methods"], "Yang et al., IJCAI 2025"),
        (["method", "igm"], "# igm: "),
        (["datasets"], "av_digits"),
        (["encoders"], "width"),
        (["sweeps"], "iprm-alpha"),
        (["hyperparameters", "iprm"], "iprm: "),
    ],
)
def test_what_is_asked_for_is_printed(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *words, "--file", str(SHIPPED)]) == 0
    assert said in capsys.readouterr().out


def test_names_are_refused_where_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "methods", "igm"]) == 2
    assert "list methods lists all of them, not 'igm' alone; list method and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "are required: what\n"), (["metod"], "; did you mean method?\n"), (["x"], "sweeps', 'hyperparameters')\n")],
)
def test_other_words_are_refused_with_the_nearest(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["list", *words])
    assert capsys.readouterr().err.endswith(said)
