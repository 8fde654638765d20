"""``python -m sweep dashboard``: it serves only sweeps that have run, and studies only of a search."""

from __future__ import annotations

import io
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import optuna
import pytest
from rich.console import Console
from support.hand_driven_search import finish, make_search
from support.synthetic_results import Results

from sweep.commands import dashboard
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


# TensorBoard ---------------------------------------------------------------------------------------------------------


class Board:
    """Stands for TensorBoard's program: notes how it is configured."""

    seen: ClassVar[list[Any]] = []

    def __init__(self, server_class: Any) -> None:
        self.server_class = server_class

    def configure(self, argv: list[str]) -> None:
        Board.seen.append(argv)

    def main(self) -> int | None:
        return Board.answer

    answer: ClassVar[int | None] = None


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> type[Board]:
    # What the package itself gives is a stand-in that imports later.
    monkeypatch.setattr(import_module("tensorboard.program"), "TensorBoard", Board)
    monkeypatch.setattr(Board, "seen", [])
    return Board


def test_tensorboard_reads_links_that_are_named_as_the_runs(tmp_path: Path, board: type[Board]) -> None:
    results, out = Results(tmp_path), io.StringIO()
    results.sweep("one")
    for alpha in (0.1, 0.2):
        results.run("one", "iprm", 4, values={"alpha": alpha, "train.lr": 0.3})
    results.run("one", "joint", 5, label="joint / plain")
    for answer, code in ((None, 0), (3, 3)):
        board.answer = answer
        assert serve(Store(tmp_path), "one", None, 9000, Console(file=out, width=200)) == code
    links = tmp_path / "one" / "tensorboard"
    assert board.seen == [["tensorboard", "--logdir", str(links), "--host", "127.0.0.1", "--port", "9000"]] * 2
    runs = tmp_path.resolve() / "runs"
    assert {link.name: link.resolve() for link in links.iterdir()} == {
        "digits_iprm_alpha=0.1,train.lr=0.3_seed4": runs / f"{1:012d}",
        "digits_iprm_alpha=0.2,train.lr=0.3_seed4": runs / f"{2:012d}",
        "digits_joint _ plain_seed5": runs / f"{3:012d}",
    }
    page = tmp_path / "one" / "report" / "index.html"
    assert out.getvalue().splitlines()[0] == f"http://127.0.0.1:9000 (Ctrl-C ends it; report: {page})"


@pytest.mark.parametrize(("kind", "served"), [(None, "optuna"), ("optuna", "optuna"), ("tensorboard", "tensorboard")])
def test_a_search_has_its_study_served_unless_tensorboard_is_asked_for(
    tmp_path: Path, board: type[Board], monkeypatch: pytest.MonkeyPatch, kind: Any, served: str
) -> None:
    class Server:
        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            board.seen.append("closed")

        def serve_forever(self) -> None:
            board.seen.append("optuna")

    def made(host: str, port: int, app: WSGIApplication, *kinds: Any) -> Server:
        board.seen.append((host, port, kinds))
        # Whoever asks for another host, or for a change, is refused.
        assert answered(app, host="evil.example") == "403 Forbidden"
        assert answered(app, "POST") == "405 Method Not Allowed"
        return Server()

    monkeypatch.setattr(dashboard, "make_server", made)
    finish(make_search(tmp_path / "s", "random", configurations=1))
    (tmp_path / "s" / "index.jsonl").touch()
    board.answer = None
    assert serve(Store(tmp_path), "s", kind, 9000, Console(file=io.StringIO())) == 0
    if served == "optuna":
        assert board.seen == [("127.0.0.1", 9000, (dashboard._Server, dashboard._Handler)), "optuna", "closed"]
    else:
        assert len(board.seen) == 1
        assert board.seen[0][0] == "tensorboard"


def test_names_of_links_are_cut_beyond_200_bytes_alone() -> None:
    assert _file_name("n" * 200) == "n" * 200
    cut = _file_name("n" * 201)
    assert (cut[:41], len(cut)) == ("n" * 40 + "-", 57)


def test_a_refusal_is_a_line_of_text() -> None:
    said = list[Any]()
    body = reading_only(page)({"REQUEST_METHOD": "POST"}, lambda *all: said.append(all))  # type: ignore[arg-type, return-value]
    assert list(body) == [b"this dashboard only shows the study\n"]
    assert said == [("405 Method Not Allowed", [("Content-Type", "text/plain; charset=utf-8")])]
