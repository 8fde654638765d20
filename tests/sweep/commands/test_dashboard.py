"""``python -m sweep dashboard``: it serves only sweeps that have run, and studies only of a search."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest
from rich.console import Console
from support.hand_driven_search import finish, make_search

from sweep.commands.dashboard import _file_name, own_host_only, reading_only, serve
from sweep.config import ConfigError
from sweep.runs.store import Store
from sweep.search.journal import open_read_only
from sweep.storage.files import StoreError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def test_a_sweep_that_has_not_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="s holds no runs: run the sweep first"):
        serve(Store(tmp_path), "s", None, 8088, Console(file=io.StringIO()))


def test_a_sweep_without_a_search_has_no_study_to_serve(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "index.jsonl").touch()
    with pytest.raises(ConfigError, match="s is no search: there is no Optuna study; use --kind tensorboard"):
        serve(Store(tmp_path), "s", "optuna", 8088, Console(file=io.StringIO()))


def answered(app: WSGIApplication, method: str = "GET", host: str = "localhost:8088") -> str:
    said = list[str]()
    app({"REQUEST_METHOD": method, "HTTP_HOST": host}, lambda status, *rest: said.append(status))  # type: ignore[arg-type, return-value]
    return said[0]


def page(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    start("200 OK", [])
    return []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9000", "[::1]:8088"])
def test_a_dashboard_answers_this_machine(host: str) -> None:
    assert answered(own_host_only(page), host=host) == "200 OK"


@pytest.mark.parametrize("host", ["evil.example:8088", "", "localhost.evil.example", "evil.example:localhost"])
def test_a_dashboard_answers_no_name_that_was_bound_to_this_machine(host: str) -> None:
    assert answered(own_host_only(page), host=host) == "403 Forbidden"


def test_a_dashboard_of_a_study_shows_and_changes_nothing(tmp_path: Path) -> None:
    finish(make_search(tmp_path, "random", configurations=1))
    journal = tmp_path / "study.journal"
    before = journal.read_bytes()
    assert [answered(reading_only(page), method) for method in ("GET", "HEAD")] == ["200 OK"] * 2
    assert {answered(reading_only(page), method) for method in ("POST", "PUT", "DELETE")} == {"405 Method Not Allowed"}
    found = optuna.load_study(study_name="s/iprm/digits", storage=open_read_only(journal))
    assert len(found.trials) == 1
    with pytest.raises(StoreError, match="is open for reading only"):
        found.set_user_attr("x", 1)
    assert journal.read_bytes() == before


def test_names_of_links_fit_every_file_system() -> None:
    names = {_file_name(f"digits/{'é' * 200}{number}") for number in range(2)}
    assert len(names) == 2
    assert all(len(name.encode()) < 200 for name in names)
    assert _file_name("a/b") == "a_b"
