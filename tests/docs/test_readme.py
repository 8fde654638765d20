"""The README is true: its code runs, its sweeps are valid, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep.commands.main import argument_parser, main
from sweep.plan.validate import validate

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/cluster.md", "docs/embedded.md")
SEARCHED = {
    "method": "iprm",
    "datasets": ["digits"],
    "vary": {"alpha": "auto", "train.lr": {"loguniform": [0.005, 0.2]}},
    "seeds": [0, 1],
    "epochs": 10,
}


def blocks(language: str, page: str = "README.md") -> list[str]:
    """The fenced blocks of a language in a page."""
    return re.findall(rf"(?s)^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)


def write(folder: Path, sweeps: dict[str, Any]) -> Path:
    path = folder / "sweeps.yaml"
    path.write_text(yaml.safe_dump({"sweeps": sweeps}))
    return path


def test_results_are_read_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"method": "joint", "datasets": ["digits"], "seeds": [0, 1], "epochs": 2, "references": False}
    write(tmp_path, {"iprm-alpha": small})
    assert main(["run", "iprm-alpha", "--local", "--no-report"]) == 0
    (code,) = [block for block in blocks("python") if "sweep.results" in block]
    found: dict[str, Any] = {}
    exec(code, found)
    assert (len(found["runs"]), len(found["epochs"])) == (2, 4)


def test_a_method_is_trained_without_ray_as_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [block for block in blocks("python") if "fit(" in block]
    exec(code, {})
    assert "'test_accuracy': 0." in capsys.readouterr().out


def test_every_python_block_is_run() -> None:
    assert len(blocks("python")) == 2


@pytest.mark.parametrize("line", [line for line in blocks("yaml")[0].splitlines() if line])
def test_a_search_of_the_readme_is_valid(line: str, tmp_path: Path) -> None:
    asked = yaml.safe_load(line)
    if "scheduler" in asked:
        asked["search"] = {"algorithm": "random", "configurations": 8}
    earlier = SEARCHED | {"vary": {"alpha": {"grid": [0.2, 0.8]}}}
    sweeps = validate(write(tmp_path, {"iprm-alpha": earlier, "asked": SEARCHED | asked}))
    assert {sweep.name for sweep in sweeps} == {"iprm-alpha", "asked"}


@pytest.mark.parametrize("line", [line for line in blocks("yaml")[1].splitlines() if line])
def test_what_the_readme_says_of_vary_is_valid(line: str, tmp_path: Path) -> None:
    asked = {"methods": ["igm", "unimodal"], "datasets": ["digits"], "hyperparameters": {"unimodal.modality": "left"}}
    asked |= yaml.safe_load(line)
    if asked.get("vary") == "auto":
        asked["search"] = {"algorithm": "random", "configurations": 8}
    elif "unimodal.modality" in asked.get("vary", {}):
        del asked["hyperparameters"]
    (sweep,) = validate(write(tmp_path, {"asked": asked}))
    assert sweep.vary or sweep.recipe or sweep.not_applicable == "skip"


def test_the_sweeps_of_own_data_are_valid(tmp_path: Path) -> None:
    path = tmp_path / "sweeps.yaml"
    path.write_text(blocks("yaml")[2])
    assert [sweep.name for sweep in validate(path)] == ["of-arrays", "of-media"]


@pytest.mark.parametrize("line", [line for line in blocks("yaml")[3].splitlines() if line])
def test_what_the_readme_corrupts_is_valid(line: str, tmp_path: Path) -> None:
    asked = {"method": "joint", "datasets": ["watch" if "watch" in line else "mfeat"]} | yaml.safe_load(line)
    (sweep,) = validate(write(tmp_path, {"asked": asked}))
    assert sweep.vary or sweep.data


def test_every_yaml_block_is_tried() -> None:
    assert len(blocks("yaml")) == 4


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_known(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for words in re.findall(r"(?m)^python -m sweep ([^#|\n]+)", text):
        argument_parser().parse_known_args(shlex.split(words))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []
