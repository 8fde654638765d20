"""``python -m sweep run``: inside a Ray job paths must lead out of its working folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_desk import Desk

from sweep.commands.run import check_paths
from sweep.config import ConfigError, Sweep, load


@pytest.fixture
def sweeps(desk: Desk) -> list[Sweep]:
    desk.write(s={"method": "iprm", "datasets": ["av_digits"], "data": {"av_digits": {"root": "fsdd"}}, "epochs": 1})
    return load(desk.folder / "sweeps.yaml", None, [])


def test_outside_a_job_paths_may_be_relative(sweeps: list[Sweep], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_JOB_ID", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    check_paths(sweeps, "results")


def test_inside_a_job_they_must_not(sweeps: list[Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_ID", "1")
    with pytest.raises(ConfigError, match="--results results is relative: a Ray job runs in a throw-away copy"):
        check_paths(sweeps, "results")
    for results in (str(tmp_path), "s3://bucket/x"):
        with pytest.raises(ConfigError, match=r"s: data\.av_digits\.root fsdd is relative"):
            check_paths(sweeps, results)
    check_paths([], "s3://bucket/x")
