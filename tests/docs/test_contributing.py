"""Whoever follows CONTRIBUTING.md word by word gets there: its method passes the suite, its dataset can be swept."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.forked_programs import Program

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"(?s)`([\w/]+\.py)`[^\n`]*:\n\n```python\n(.*?)```", PAGE))
"""Path -> text of every file that the page tells to write."""
SWEEPS = "sweeps:\n  w: {method: slowdown, datasets: [waves], seeds: [0], epochs: 2, references: false}\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout after everything that the page tells to do."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("data", "models", "methods", "sweep", "tests"):
        shutil.copytree(ROOT / name, folder / name)  # with the bytecode, which is read where a file's time is the same
    shutil.copy(ROOT / "pyproject.toml", folder)
    sweeps = (ROOT / "sweeps.yaml").read_text(encoding="utf-8")
    (folder / "sweeps.yaml").write_text(sweeps.replace("      - iprm\n", "      - iprm\n      - slowdown\n", 1))
    for path, text in FILES.items():
        (folder / path).write_text(text)
    return folder


def run(folder: Path, *words: str) -> str:
    """Run Python in a folder and return what it printed."""
    command = [sys.executable, "-m", *words]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-5000:]
    return ended.stdout


def test_the_page_has_a_method_its_test_and_a_dataset() -> None:
    assert list(FILES) == ["methods/slowdown.py", "tests/methods/test_slowdown.py", "data/waves.py"]


def test_the_method_passes_the_suite(checkout: Path) -> None:
    suites = ("methods/test_every_method.py", "methods/test_slowdown.py", "sweep/commands/test_method_pages.py")
    files = [f"tests/{suite}" for suite in suites]
    said = run(checkout, "pytest", "-q", "-p", "no:cacheprovider", "-k", "slowdown", *files)
    # Both variants: workers, resuming, precisions, learning, prediction, absent modalities; values; the page; its own.
    assert int(re.findall(r"(\d+) passed", said)[0]) >= 2 * 6 + 4


def test_the_dataset_is_swept(checkout: Path) -> None:
    (checkout / "waves.yaml").write_text(SWEEPS)
    sweep = Program(None, "run", "w", "--file", "waves.yaml", "--local", "--no-report", folder=checkout)
    assert "1 of 1 runs ended" in sweep.communicate()[0]


def test_what_the_page_shows_is_formatted(checkout: Path) -> None:
    run(checkout, "ruff", "format", "--check", "--diff", *FILES)
    run(checkout, "ruff", "check", *FILES)


def test_the_glossary_names_what_there_is() -> None:
    rows = re.findall(r"(?m)^\| ([^|]+) \| [^|]+ \| ([^|]*) \|$", PAGE.partition("## Glossary")[2])
    words = [word for row in rows[2:] for word in row[0].split(", ")]
    assert len(words) > 45
    assert len(words) == len(set(words))
    for module in [name for _, where in rows for name in re.findall(r"`(sweep(?:\.\w+)+)`", where)]:
        import_module(module)


def test_every_room_is_in_the_picture() -> None:
    picture = PAGE.partition("## The rooms")[2].partition("## A method")[0]
    rooms = {path.parent.name for path in (ROOT / "sweep").glob("*/__init__.py")}
    assert {room for room in rooms if f"sweep/{room}" not in picture} == set()
