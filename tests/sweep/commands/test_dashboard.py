"""``python -m sweep dashboard``: it serves only sweeps that have run, and studies only of a search."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sweep.commands.dashboard import serve
from sweep.config import ConfigError
from sweep.runs.store import Store


def test_a_sweep_that_has_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="s holds no runs: run the sweep first"):
        serve(Store(tmp_path), "s", None, 8088, Console(file=io.StringIO()))


def test_a_sweep_without_a_search_has_no_study_to_serve(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "index.jsonl").touch()
    with pytest.raises(ConfigError, match="s is no search: there is no Optuna study; use --kind tensorboard"):
        serve(Store(tmp_path), "s", "optuna", 8088, Console(file=io.StringIO()))
