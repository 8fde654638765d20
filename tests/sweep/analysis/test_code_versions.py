"""Means that mix results of different code are found, with what differs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from sweep.analysis.code_versions import MOST_TOLD, UNNAMED, mixed_code_sentences

SAME = {"data": "d", "methods": "m", "models": "o", "sweep": "s"}


def run(seed: int, code: str, point: str = "α=0.5", status: str = "done", **folders: str | None) -> dict[str, Any]:
    told = {f"env.folders.{name}": folders.get(name, value) for name, value in SAME.items()}
    named = {"label": "iprm", "point": point, "role": "sweep", "dataset": "digits", "configuration": f"c{point}"}
    return {**named, "seed": seed, "status": status, "env.code": code, **told}


def found(*rows: dict[str, Any]) -> list[str]:
    return mixed_code_sentences(pd.DataFrame(list(rows)))


def sentence(counts: str, changed: str) -> str:
    return (
        f"iprm: α=0.5 on digits: its mean mixes {counts} runs of different code ({changed} changed between them); "
        "run --force trains them again."
    )


def test_a_mean_of_different_code_is_told_with_the_folders_that_differ() -> None:
    assert found(run(0, "a"), run(1, "b", models="x", sweep="y"), run(2, "b", models="x", sweep="y")) == [
        sentence("2 and 1", "models/, sweep/")
    ]


def test_a_mean_whose_configuration_is_not_on_record_is_told_too() -> None:
    rows = [run(0, "a") | {"configuration": None}, run(1, "b", models="x") | {"configuration": None}]
    assert found(*rows) == [sentence("1 and 1", "models/")]


@pytest.mark.parametrize(
    "rows",
    [
        [run(0, "a"), run(1, "a")],
        [run(0, "a"), run(1, "b")],  # another method's file was edited
        [run(0, "a"), run(1, "b", status="failed", models="x")],
        [run(0, "a"), run(0, "b", point="α=0.6", models="x")],
    ],
)
def test_a_mean_of_the_same_code_is_not(rows: list[dict[str, Any]]) -> None:
    assert found(*rows) == []


def test_records_that_do_not_name_folders_are_compared_by_all_code() -> None:
    earlier = dict.fromkeys(SAME)
    assert found(run(0, "a", **earlier), run(1, "a", **earlier)) == []
    assert found(run(0, "a", **earlier), run(1, "b")) == [sentence("1 and 1", UNNAMED)]
    rows = [
        {k: v for k, v in run(seed, code).items() if not k.startswith("env.folders")} for seed, code in enumerate("ab")
    ]
    assert found(*rows) == [sentence("1 and 1", UNNAMED)]


def test_results_without_environments_say_nothing() -> None:
    assert found({key: value for key, value in run(0, "a").items() if not key.startswith("env.")}) == []


def test_of_many_the_first_are_told_and_the_others_counted() -> None:
    rows = [
        run(seed, code, f"α={point}", models=code) for point in range(MOST_TOLD + 3) for seed, code in enumerate("ab")
    ]
    told = found(*rows)
    assert len(told) == MOST_TOLD + 1
    assert told[-1] == "3 further configurations mix runs of different code."
