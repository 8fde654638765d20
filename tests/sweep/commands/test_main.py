"""The promises of the command line, kept by real processes: exit codes, resuming after a kill, executors that agree."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from support.command_desk import ROOT, Desk, kill
from support.forked_programs import printed

from data.base import DataError
from sweep.commands import list as listing_command
from sweep.commands import main as main_module
from sweep.commands.main import EXAMPLES, _parsed_options, argument_parser, main
from sweep.config import ConfigError
from sweep.results.tables import ResultsError
from sweep.storage.files import LockedError, StoreError

SWEEP: dict[str, Any] = {
    "method": "iprm",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"alpha": {"grid": [0.1, 0.5, 0.9]}},
    "seeds": [0, 1],
    "epochs": 3,
    "references": False,
}


def test_a_sweep_in_process_from_command_to_report(desk: Desk) -> None:
    desk.write(s=SWEEP)
    code, out, err = desk.run("run", "s", "--local")
    assert (code, err) == (0, "")
    assert "6 of 6 runs ended" in out
    page = desk.folder / "results/s/report/index.html"
    assert f"report: {page.relative_to(desk.folder)}" in out
    assert "<html" in page.read_text()[:200].lower()
    figures = {path.suffix for path in (desk.folder / "results/s/report/figures").iterdir()}
    assert {".pdf", ".svg", ".png"} <= figures
    assert (desk.folder / "results/s/runs.parquet").exists()
    assert [row["status"] for row in desk.table()] == ["done"] * 6

    before = {path: path.stat().st_mtime_ns for path in desk.finished()}
    code, out, _ = desk.run("run", "s", "--local", "--no-report")
    assert code == 0
    assert "6 kept from earlier" in out
    assert {path: path.stat().st_mtime_ns for path in desk.finished()} == before

    code, out, _ = desk.run("run", "s", "--dry-run", "seeds=[0,1,2]")
    assert code == 0
    assert "3 runs to train, 6 held by results" in out
    code, out, _ = desk.run("show", "s")
    assert code == 0
    assert out.count("2 done") == 3


def test_what_a_method_refuses_is_left_out_and_shown_as_not_applicable(desk: Desk) -> None:
    varied = {"unimodal.modality": {"grid": ["left", "rows"]}}
    sweep = SWEEP | {"methods": ["joint", "unimodal"], "vary": varied, "seeds": [0], "not_applicable": "skip"}
    del sweep["method"]
    desk.write(s=sweep)
    reason = "unimodal: no modality called 'rows'"
    code, out, _ = desk.run("run", "s", "--dry-run")
    assert code == 0
    assert f"N/A               unimodal unimodal.modality=rows on digits: {reason}" in out
    assert "s: 2 runs to train, 0 held by results; 1 N/A" in out
    code, out, err = desk.run("run", "s", "--local")
    assert (code, err) == (0, "")
    assert "2 of 2 runs ended" in out
    assert f"N/A: unimodal: unimodal.modality=rows on digits: {reason}" in out
    page = (desk.folder / "results/s/report/index.html").read_text()
    assert page.count("<td>N/A</td>") > 3
    assert "1 configuration N/A" in page
    assert "Fewer runs than planned" not in page
    assert [row["status"] for row in desk.table()] == ["done"] * 2
    code, out, _ = desk.run("show", "s")
    assert code == 0
    assert re.search(rf"unimodal +unimodal.modality=rows +digits +N/A: {reason}", out)

    desk.write(s=sweep | {"not_applicable": "refuse"})
    code, _, err = desk.run("run", "s", "--dry-run")
    assert code == 2
    assert reason in err


def test_a_run_that_diverges_is_recorded_and_the_others_go_on(desk: Desk) -> None:
    desk.write(s=SWEEP | {"vary": {"train.lr": {"grid": [0.05, 1e30]}}, "seeds": [0]})
    code, out, _ = desk.run("run", "s", "--local", "--no-report")
    assert code == 1
    assert "diverged: training loss is" in out
    assert sorted(row["status"] for row in desk.table()) == ["diverged", "done"]
    code, out, _ = desk.run("show", "s")
    assert "1 diverged" in out
    assert "training loss is" in out


def test_a_method_that_raises_is_a_failed_run_with_its_traceback(desk: Desk) -> None:
    # BSS drops incomplete batches, and 200 samples make no batch of 256.
    desk.write(s=SWEEP | {"vary": {"train.batch_size": {"grid": [64, 256]}}, "method": "bss", "seeds": [0]})
    code, out, _ = desk.run("run", "s", "--local", "--no-report")
    assert code == 1
    assert "choose a smaller train.batch_size" in out
    failed = next(row for row in desk.table() if row["status"] == "failed")
    assert failed["reason"].startswith("ValueError: 200 training samples give no whole batch of 256")
    assert "Traceback" in (desk.folder / "results/runs" / failed["hash"] / "log.txt").read_text()


def test_a_killed_local_sweep_resumes_and_ends_like_an_uninterrupted_one(desk: Desk) -> None:
    desk.write(s=SWEEP | {"epochs": 6})
    process = desk.begin("run", "s", "--local", "--no-report")
    desk.wait_for(2, process)
    kill(process)
    before = {path: path.stat().st_mtime_ns for path in desk.finished()}
    assert 2 <= len(before) < 6
    code, out, _ = desk.run("resume", "s", "--local", "--no-report")
    assert code == 0
    assert f"{len(before)} kept from earlier" in out
    assert before.items() <= {path: path.stat().st_mtime_ns for path in desk.finished()}.items()
    assert desk.run("run", "s", "--local", "--no-report", "--results", "whole")[0] == 0
    assert desk.table() == desk.table(results="whole")


def test_ctrl_c_leaves_a_resumable_sweep_and_says_so(desk: Desk) -> None:
    one = {name: value for name, value in SWEEP.items() if name != "vary"}  # of which a report has few figures
    desk.write(s=one | {"epochs": 20})
    process = desk.start("run", "s", "--local")
    desk.wait_for(1, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "run the same command again to go on" in err
    assert "report: " in out


def test_a_second_driver_is_refused_while_the_first_lives(desk: Desk) -> None:
    desk.write(s=SWEEP | {"epochs": 60})
    first = desk.begin("run", "s", "--local", "--no-report")
    while not (desk.folder / "results/s/index.jsonl").exists():
        assert first.poll() is None
        time.sleep(0.02)
    code, _, err = desk.run("run", "s", "--local", "--no-report")
    kill(first)
    assert code == 3
    assert "is being run by another process" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "s", "epochs=abc"], "epochs"),
        (["run", "quickstrat"], "there are: s"),
        (["run", "s", "vary.alpha.grid=[]"], "alpha"),
        (["report", "s"], "holds no runs"),
        (["resume", "s"], "use run"),
        (["dashboard", "s"], "holds no runs"),
        (["list", "hyperparameters", "iprn"], "did you mean iprm?"),
    ],
)
def test_mistakes_end_with_code_2_and_a_remedy(desk: Desk, words: list[str], said: str) -> None:
    desk.write(s=SWEEP)
    code, _, err = desk.run(*words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not (desk.folder / "results").exists()


IMPORTS = """
import pwd, sys
from sweep.commands.main import main

def refuse(heavy, words):
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    if code or heavy & set(sys.modules):
        sys.exit(f"{words}: code {code}, imported {sorted(heavy & set(sys.modules))}")

# The user has no name, as in a container that was started for a user of its host: torch's compiler asks for it.
pwd.getpwuid = {}.__getitem__
unused = {"ray", "torchaudio", "torchvision", "transformers", "torch._dynamo", "mlflow", "wandb"}
for words in [
    ["validate", "--file", sys.argv[1]],
    ["list", "methods"],
    ["list", "datasets"],
    ["list", "sweeps"],
    ["list", "hyperparameters"],
    ["list", "encoders"],
    ["list", "method", "igm"],
    ["show", "s"],
    ["--help"],
    ["run", "s", "--dry-run"],
]:
    refuse(unused | {"sklearn", "scipy", "optuna", "matplotlib", "plotly"}, words)
refuse(unused, ["run", "s", "--local", "--no-report", "epochs=1", "seeds=[0]"])
"""


def test_commands_that_read_declarations_import_nothing_heavy_and_training_nothing_unused(desk: Desk) -> None:
    desk.write(s=SWEEP)
    nameless = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "")
    out = printed(IMPORTS, str(ROOT / "sweeps.yaml"), folder=desk.folder, environment=nameless)
    assert "3 of 3 runs ended" in out


def test_every_command_has_a_module_of_its_name() -> None:
    (commands,) = [action.choices for action in argument_parser()._actions if isinstance(action.choices, dict)]
    assert {"run", "resume", "report", "list", "export", "clean", "init", "validate"} <= commands.keys()
    for name in commands:
        assert callable(import_module(f"sweep.commands.{name}").run_command), name


def test_names_and_overrides_may_follow_options(desk: Desk) -> None:
    desk.write(s=SWEEP)
    code, out, _ = desk.run("run", "--dry-run", "s", "--results", "elsewhere", "seeds=[0]")
    assert code == 0
    assert "3 runs to train, 0 held by elsewhere" in out


def test_an_unknown_option_is_refused_with_where_to_look(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "s", "--fast"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --fast; see python -m sweep run --help" in capsys.readouterr().err


# By hand -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (ConfigError("a"), 2, "a\n"),
        (DataError("b"), 2, "b\n"),
        (LockedError("c"), 3, "c\n"),
        (StoreError("d"), 1, "d\n"),
        (ResultsError("e"), 1, "e\n"),
        (PermissionError(13, "Permission denied", "/x/y"), 1, "cannot use /x/y: Permission denied; "),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to go on\n"),
    ],
)
def test_each_way_to_end_has_its_code_and_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException, code: int, said: str
) -> None:
    def end(options: argparse.Namespace) -> int:
        raise raised

    monkeypatch.setattr(listing_command, "run_command", end)
    assert main(["list", "methods"]) == code
    assert capsys.readouterr().err.startswith(said)


def test_an_interruption_before_the_command_is_imported_is_said_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(module: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "import_module", interrupted)
    assert main(["list", "methods"]) == 130
    monkeypatch.setitem(sys.modules, "sweep.results.tables", Interrupting("sweep.results.tables"))
    assert main(["show", "s"]) == 130
    assert capsys.readouterr().err == 2 * "interrupted; run the same command again to go on\n"


class Interrupting(ModuleType):
    """Stands for a module while it is imported."""

    def __getattr__(self, name: str) -> Any:
        raise KeyboardInterrupt


def test_an_error_of_no_file_is_one_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(options: argparse.Namespace) -> int:
        raise OSError("no file")

    monkeypatch.setattr(listing_command, "run_command", end)
    with pytest.raises(OSError, match="no file"):
        main(["list", "methods"])
    monkeypatch.setattr(listing_command, "run_command", lambda options: 1)
    assert main(["list", "methods"]) == 1


def options_of(*words: str) -> dict[str, Any]:
    """What a command is given, without what all have."""
    return {key: value for key, value in vars(_parsed_options(words)).items() if key not in ("file", "results")}


TRAINING = {"local": False, "address": None, "force": False, "dry_run": False, "no_report": False}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "s"], {"names": ["s"], **TRAINING}),
        (["run", "--force", "s", "--local", "a=1", "--no-report", "--dry-run"],
         {"names": ["s", "a=1"], **TRAINING, "local": True, "force": True, "no_report": True, "dry_run": True}),
        (["resume", "s", "--address", "x"], {"names": ["s"], **TRAINING, "address": "x"}),
        (["prepare", "digits", "a=1", "--root", "r", "b=2"],
         {"dataset": "digits", "names": ["a=1", "b=2"], "root": Path("r"), "local": False, "address": None}),
        (["report", "s", "--tex"], {"names": ["s"], "tex": True, "to": None}),
        (["report", "s", "--to", "x"], {"names": ["s"], "tex": False, "to": Path("x")}),
        (["seeds", "s"], {"names": ["s"], "difference": 1.0}),
        (["list", "method", "igm"], {"what": "method", "of": ["igm"]}),
        (["list", "methods"], {"what": "methods", "of": ()}),
        (["validate"], {"overrides": []}),
        (["validate", "a=1"], {"overrides": ["a=1"]}),
        (["show", "s"], {"names": ["s"]}),
        (["dashboard", "s"], {"name": "s", "kind": None, "port": 8088}),
        (["export", "s"], {"name": "s", "run": None, "label": None, "dataset": None, "to": None}),
        (["predict", "m"], {"model": Path("m"), "names": [], "split": "test", "without": [],
                            "output": Path("predictions.csv"), "device": "cpu"}),
        (["predict", "m", "--without", "a", "--without", "b"],
         {"model": Path("m"), "names": [], "split": "test", "without": ["a", "b"],
          "output": Path("predictions.csv"), "device": "cpu"}),
        (["replay", "0123"], {"what": "0123", "names": [], "local": False, "address": None}),
        (["clean"], {"keep": None, "orphans": False, "stale": False, "dry_run": False}),
        (["clean", "--stale", "--orphans", "--dry-run", "--keep", "all"],
         {"keep": "all", "orphans": True, "stale": True, "dry_run": True}),
        (["init"], {}),
    ],
)  # fmt: skip
def test_what_a_command_takes(words: list[str], expected: dict[str, Any]) -> None:
    assert options_of(*words) == {"command": words[0], **expected}
    assert vars(_parsed_options(words))["file"] == Path("sweeps.yaml")
    assert vars(_parsed_options([words[0], "--results", "x", *words[1:]]))["results"] == "x"
    assert vars(_parsed_options(words))["results"] == "results"


@pytest.mark.parametrize(
    "words",
    [[], ["run"], ["nobody"], ["export"], ["list", "nobody"], ["clean", "x"], ["export", "s", "t"], ["init", "x"]],
)
def test_words_that_make_no_command_end_with_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: python -m sweep" in capsys.readouterr().err


def test_the_help_tells_commands_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert EXAMPLES in said
    assert "train what is missing of sweeps, then report" in said
    with pytest.raises(SystemExit):
        main(["clean", "--help"])
    assert "Free disk: checkpoints of ended runs, weights that no sweep keeps." in capsys.readouterr().out


# On Ray ------------------------------------------------------------------------------------------------------------


@pytest.mark.ray
def test_a_killed_sweep_on_ray_resumes_and_agrees_with_the_local_executor_bit_for_bit(desk: Desk) -> None:
    # One process at a time: that two train side by side is left to the tests of the engine.
    desk.write(s=SWEEP | {"epochs": 8, "resources": {"cpus": 2}})
    process = desk.start("run", "s", "--no-report")
    desk.wait_for(2, process)
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    # Ray's agents, too, which left to themselves live on for minutes.
    assert psutil.wait_procs(started, timeout=60)[1] == []
    before = {path: path.stat().st_mtime_ns for path in desk.finished()}
    code, out, err = desk.run("run", "s", "--no-report")
    assert (code, err) == (0, "")
    kept = re.search(r"(\d+) kept from earlier", out)
    # An actor may end the run it has in hand before it hears that its driver is gone.
    assert kept is not None
    assert len(before) <= int(kept[1]) < 6
    assert before.items() <= {path: path.stat().st_mtime_ns for path in desk.finished()}.items()
    assert desk.run("run", "s", "--local", "--no-report", "--results", "whole")[0] == 0
    assert desk.table() == desk.table(results="whole")


@pytest.mark.ray
def test_a_search_on_ray_retrains_its_choice_under_report_seeds(desk: Desk) -> None:
    keys = {
        "vary": {"alpha": "auto", "train.lr": {"loguniform": [0.01, 0.2]}},
        "search": {"algorithm": "tpe", "configurations": 4},
        "seeds": [0],
        "report_seeds": [100, 101],
        "epochs": 2,
        "scheduler": {"name": "asha", "grace": 1, "reduction": 2},
    }
    desk.write(s=SWEEP | keys)
    code, _, err = desk.run("run", "s", "--no-report")
    assert (code, err) == (0, "")
    rows = desk.table()
    searched = [row for row in rows if row["role"] == "sweep"]
    assert len(searched) == 4
    assert {row["status"] for row in searched} <= {"done", "pruned"}
    done = [row for row in searched if row["status"] == "done"]
    chosen = max(done, key=lambda row: (row["validation_accuracy"], -row["number"]))  # of equals the first proposed
    reported = sorted((row for row in rows if row["role"] == "report"), key=lambda row: row["seed"])
    assert [row["seed"] for row in reported] == [100, 101]
    assert {row["configuration"] for row in reported} == {chosen["configuration"]}
