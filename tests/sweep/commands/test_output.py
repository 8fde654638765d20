"""What is printed fails nothing: readers that go, full disks, closed descriptors, encodings that lack characters."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.command_desk import ROOT, Desk

from data.base import allocation
from sweep.commands.main import main
from sweep.commands.output import UnfailingOutput, make_outputs_unfailing, print_warnings_as_lines


def test_a_reader_that_has_gone_loses_the_rest_of_the_text_and_nothing_else() -> None:
    reader, writer = os.pipe()
    output = UnfailingOutput(writer)
    assert output.write(b"first") == 5
    assert os.read(reader, 9) == b"first"
    os.close(reader)
    assert output.write(b"second") == 6
    assert isinstance(output.failure, BrokenPipeError)
    os.close(writer)
    assert output.write(b"third") == 5


def test_characters_that_an_encoding_lacks_are_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out, (tmp_path / "err").open("w", encoding="ascii") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        make_outputs_unfailing()
        print("97.0 ± 0.3", flush=True)
        print("no file é\udcff", file=sys.stderr, flush=True)
        assert isinstance(sys.stdout, io.TextIOWrapper)
        assert (sys.stdout.fileno(), sys.stdout.isatty()) == (out.fileno(), False)
    assert (tmp_path / "out").read_bytes() == b"97.0 ? 0.3\n"
    assert (tmp_path / "err").read_bytes() == b"no file \\xe9\\udcff\n"


@pytest.fixture
def _signals() -> Iterator[None]:
    """Puts back what a command that runs in this process handles."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: set by a library, not by Python


@pytest.mark.usefixtures("_signals")
def test_a_full_disk_behind_standard_output_ends_no_sweep(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = list[bool]()  # memory that is freed, by a command in a process of its own, which this one is not
    monkeypatch.setattr(allocation, "keep_freed_memory", lambda: kept.append(True))
    data = {"data": {"digits": {"train_samples": 60}}, "seeds": [0], "epochs": 1, "references": False}
    desk.write(s={"method": "joint", "datasets": ["digits"], "title": "é", **data})
    monkeypatch.chdir(desk.folder)
    monkeypatch.setattr(sys, "argv", ["sweep", "run", "s", "--local", "--no-report"])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    # Closed without a word: what is left in their buffers must not be tried again.
    with suppress(OSError), Path("/dev/full").open("w", encoding="ascii") as out, Path("err").open("w") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        assert main() == 0
    assert len(desk.finished()) == 1
    assert Path("err").read_text() == "standard output is incomplete: No space left on device\n"
    assert kept == [True]
    assert main(["list", "recipes"]) == 0
    assert kept == [True]


def test_descriptors_that_were_closed_are_not_given_to_files(tmp_path: Path) -> None:
    program = (
        "import sys; from sweep.commands.output import make_outputs_unfailing; make_outputs_unfailing();"
        "print('lost'); file = open(sys.argv[1], 'w'); print(file.fileno() > 2, file=file)"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program, str(tmp_path / "said")]
    assert subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode == 0
    assert (tmp_path / "said").read_text() == "True\n"


def test_a_warning_for_users_is_a_line_without_a_place_in_the_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    print_warnings_as_lines()
    for category in (UserWarning, RuntimeWarning):
        sys.stderr.write(warnings.formatwarning("row 3 is left out", category, "module.py", 7))
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "warning: row 3 is left out"
    assert others[0] == "module.py:7: RuntimeWarning: row 3 is left out"
