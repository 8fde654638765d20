"""What is recorded of the machine and the code, and the refusal of other code than the driver's."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.small_runs import make_run

import models
from sweep.runs import code_texts, environment
from sweep.runs.code_texts import code_digest, folder_digests
from sweep.runs.environment import (
    CODE_VARIABLE,
    ROOT,
    ChangedCodeError,
    check_code,
    check_code_of,
    check_packages,
    record_environment,
)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """What one process records once is recorded anew."""
    environment._fixed.cache_clear()
    yield
    environment._fixed.cache_clear()


def test_versions_machine_and_command_are_those_of_this_process() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    found = record_environment(workers=3)
    assert found.packages.items() >= {name: version(name) for name in ("torch", "numpy", "scikit-learn")}.items()
    assert found.packages.keys() <= set(environment.PACKAGES)
    assert (found.python, found.code, found.folders) == (platform.python_version(), code_digest(), folder_digests())
    assert (found.hostname, found.platform) == (socket.gethostname(), platform.platform())
    assert (found.workers, found.cpus, found.command) == (3, os.cpu_count(), sys.argv)
    started = datetime.fromisoformat(found.started)
    assert before <= started <= datetime.now(UTC)
    assert started.microsecond == 0


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    assert record_environment(1).packages == {"numpy": version("numpy")}


def test_processors_that_nobody_can_count_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert record_environment(1).cpus == 0


def test_the_fixed_part_is_read_once_and_workers_and_time_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = list[str]()
    monkeypatch.setattr(environment, "_git_revision", lambda: reads.append("git") or "r")
    assert [record_environment(workers).workers for workers in (1, 2)] == [1, 2]
    assert reads == ["git"]


class Answer:
    """Stands for git: says ``text``, or raises."""

    def __init__(self, text: str, error: Exception | None = None) -> None:
        self.text, self.error, self.command, self.keys = text, error, list[str](), dict[str, Any]()

    def __call__(self, command: list[str], **keys: Any) -> subprocess.CompletedProcess[str]:
        self.command, self.keys = command, keys
        if self.error is not None:
            raise self.error
        return subprocess.CompletedProcess(command, 0, self.text, "")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer("0123456789ab+changes\n"), "0123456789ab+changes"),
        (Answer(""), None),
        (Answer("", FileNotFoundError("git")), None),
        (Answer("", subprocess.TimeoutExpired("git", 10)), None),
    ],
    ids=["a repository", "none", "no git", "git hangs"],
)
def test_the_revision_is_what_git_says_of_the_code_and_none_without_it(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, expected: str | None
) -> None:
    monkeypatch.setattr(subprocess, "run", answer)
    assert environment._git_revision() == expected
    assert answer.command[:3] == ["git", "-C", str(ROOT)]
    # Nothing of it shows on the terminal, and no refusal or wait of git's is an error of the run.
    assert answer.keys == {"capture_output": True, "text": True, "timeout": 10, "check": False}


def test_the_processor_is_named_as_the_system_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "processor\t: 0\nmodel name\t: A: fast one\nmodel name\t: B\n")
    assert environment._processor() == "A: fast one"
    monkeypatch.setattr(Path, "read_text", lambda path: "processor\t: 0\n")
    assert environment._processor() == platform.processor()

    def refuse(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert environment._processor() == platform.processor()


def test_the_code_of_this_checkout_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CODE_VARIABLE, raising=False)
    check_packages()
    monkeypatch.setenv(CODE_VARIABLE, code_digest())
    check_packages()


def test_other_code_than_the_drivers_is_refused_with_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CODE_VARIABLE, "0" * 16)
    with pytest.raises(ImportError, match=rf"the code on {socket.gethostname()}, in .*, is not the driver's: install"):
        check_packages()


def test_a_package_of_another_folder_is_refused_with_that_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(models, "__file__", str(tmp_path / "models" / "__init__.py"))
    with pytest.raises(ImportError, match=rf"package 'models' was imported from {tmp_path}/models, but sweep lies in"):
        check_packages()


# Code that is rewritten while a sweep runs -------------------------------------------------------------------------


def rewrite(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """Have a file of the four packages say something else from now on, as an editor would."""
    read = code_texts._text
    monkeypatch.setattr(
        code_texts, "_text", lambda path: read(path) + ("\n# edited\n" if path == str(ROOT / file) else "")
    )


@pytest.fixture
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_checked", {})


@pytest.mark.usefixtures("_unchecked")
@pytest.mark.parametrize("file", ["methods/joint.py", "data/digits.py", "models/fusion/base.py", "sweep/runs/train.py"])
def test_a_process_whose_code_is_not_the_plans_trains_nothing(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    planned, run = code_digest(), make_run()
    check_code_of(run, planned)
    environment._checked.clear()  # as in a process that was started later
    rewrite(monkeypatch, file)
    with pytest.raises(ChangedCodeError, match="was rewritten after the sweep was planned, so nothing more is trained"):
        check_code_of(run, planned)
    monkeypatch.undo()
    check_code_of(run, planned)


@pytest.mark.usefixtures("_unchecked")
def test_the_code_is_read_again_only_where_more_of_it_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    planned, reads = code_digest(), list[str]()
    monkeypatch.setattr(environment, "read_code_digest", lambda: reads.append("read") or planned)
    for _ in range(3):
        check_code(planned)
    assert reads == ["read"]
    monkeypatch.setitem(sys.modules, "methods.imported_later", models)
    check_code(planned)
    assert reads == ["read", "read"]
    with pytest.raises(ChangedCodeError):
        check_code("of another plan")


def test_the_command_line_is_recorded_without_secrets_and_in_writable_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep", "run", "s", "--results", "r\udcff", "x.token=abc"])
    record = record_environment(1)
    assert record.command == ["sweep", "run", "s", "--results", "r\\udcff", "x.token=***"]
    record.model_dump_json()
