"""The command line: ``python -m sweep COMMAND [NAME ...] [--file sweeps.yaml] [--results results] [key=value ...]``.

Exit codes: 0 done, 1 some runs failed, 2 a mistake in the configuration or the command, 3 another process runs the
sweep, 130 interrupted. Each command lies in the module of its name and is imported when it is asked for."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from sweep.commands.exit_codes import DONE, FAILED, INTERRUPTED, LOCKED, MISTAKE
from sweep.commands.output import make_outputs_unfailing, print_warnings_as_lines, say_what_was_lost
from sweep.engine.first_imports import without_collection

EXAMPLES = """examples:
  python -m sweep list sweeps                         what sweeps.yaml holds
  python -m sweep prepare crema_d --root path/to/it   decode its media, once (run does so, too)
  python -m sweep run iprm-alpha                      train what is missing, then report
  python -m sweep run iprm-alpha bss-beta --dry-run   what would be trained
  python -m sweep run compare epochs=10 seeds=[0,1]   with other values, for this time
  python -m sweep run compare splits=[0,1,2]          everything on several splits of the data
  python -m sweep run compare recipe=ogm-2022         trained as that paper does (list recipes)
  python -m sweep run compare datasets=[av_digits] data.av_digits.root=path/to/fsdd
  ray job submit --working-dir . -- python -m sweep run compare --results /shared/results

data of your own, in a sweep (python -m sweep init writes a file of sweeps):
  datasets: [arrays]      data: {arrays: {root: mine.npz, modalities: [sensor, photo]}}   and labels; encoders by shape
  datasets: [manifest]    data: {manifest: {root: list.csv, modalities: {face: {kind: image}}}}   and a column label
  encoders: {sensor: gru} where the default is not wanted; list datasets, list encoders and the README say more

exit codes: 0 done, 1 some runs failed, 2 mistake in configuration or command, 3 locked by a live process,
130 interrupted (run again to go on)"""


ANSWERED = ("show", "run", "report")
"""Commands that can be answered by what is kept beside the index of a sweep."""


class _Parser(argparse.ArgumentParser):
    """A parser that knows which word was meant."""

    def error(self, message: str) -> NoReturn:
        """Print the message, with the nearest of the words that were possible, and exit."""
        if wrong := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            near = difflib.get_close_matches(wrong[1], re.findall(r"[\w-]+", wrong[2]), 1)
            message += f"; did you mean {near[0]}?" if near else ""
        super().error(message)


def argument_parser() -> argparse.ArgumentParser:
    """Build the parser of every command."""
    common = _Parser(add_help=False)
    common.add_argument("--file", type=Path, default=Path("sweeps.yaml"), help="the sweeps (default: sweeps.yaml)")
    common.add_argument("--results", default="results", help="folder, or URI like s3://bucket/x (default: results)")

    top = _Parser(
        prog="python -m sweep",
        description="Hyperparameter and method sweeps of balanced multimodal learning, on Ray.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        about = text[0].upper() + text[1:] + "."
        # Half an option must not be taken for one that deletes.
        return commands.add_parser(name, parents=[common], help=text, description=about, allow_abbrev=False)

    command("init", "write a commented sweeps.yaml to start from")

    run = command("run", "train what is missing of sweeps, then report")
    run.add_argument("names", nargs="+", metavar="NAME | key=value", help="sweeps, and values to override in them")
    _add_execution(run)
    resume = command("resume", "run a sweep on as it was configured when it last ran")
    resume.add_argument("names", nargs="+", metavar="NAME", help="sweeps that have run before")
    _add_execution(resume)

    prepare = command("prepare", "decode the media of a dataset, once, for every later run")
    prepare.add_argument("dataset", metavar="DATASET", help="its name; see list datasets")
    prepare.add_argument("--root", type=Path, help="folder of the dataset")
    prepare.add_argument("names", nargs="*", metavar="key=value", help="other options of the dataset: profile=20s")
    _add_where(prepare, "in processes of this machine, without Ray")

    report = command("report", "write the report and figures of sweeps from what has been trained so far")
    report.add_argument("names", nargs="+", metavar="NAME", help="sweeps that have run before")
    about = "for a paper, too: LaTeX tables, figures for one and two columns, a checklist"
    report.add_argument("--tex", action="store_true", help=about)
    about = "write to FOLDER/NAME in place of the results, for which reading them is enough"
    report.add_argument("--to", type=Path, metavar="FOLDER", help=about)

    seeds = command("seeds", "say how many seeds a difference to joint training needs, from a sweep's own noise")
    seeds.add_argument("names", nargs="+", metavar="NAME", help="sweeps that have run before")
    seeds.add_argument("--difference", type=float, default=1.0, help="in points (default: 1)")

    about = "list methods, datasets, encoders, recipes, sweeps or hyperparameters, or tell all about a method"
    listing = command("list", about)
    listing.add_argument(
        "what", choices=["methods", "method", "datasets", "encoders", "recipes", "sweeps", "hyperparameters"]
    )
    listing.add_argument(
        "of", nargs="*", default=(), metavar="METHOD", help="method, hyperparameters: which (default: all)"
    )

    validate = command("validate", "check the whole file; names every mistake with its line")
    validate.add_argument("overrides", nargs="*", metavar="key=value", help="values to override in every sweep")

    show = command("show", "show what a sweep is, and which of its runs are done, missing or failed, and why")
    show.add_argument("names", nargs="+", metavar="NAME | key=value", help="sweeps, and values to override in them")

    board = command("dashboard", "serve live dashboards of a sweep on this machine (TensorBoard, Optuna)")
    board.add_argument("name", metavar="NAME", help="a sweep that has run or is running")
    board.add_argument("--kind", choices=["tensorboard", "optuna"], help="default: optuna for a search")
    board.add_argument("--port", type=int, default=8088, help="port on the loopback address (default: 8088)")

    export = command("export", "write the model of a sweep's best run, or of a named one, into a folder")
    export.add_argument("name", metavar="NAME", help="a sweep that has run")
    export.add_argument("--run", metavar="HASH", help="this run (the beginning of its hash) instead of the best")
    export.add_argument("--label", help="the best of this method of the sweep")
    export.add_argument("--dataset", help="the best on this dataset")
    export.add_argument("--to", type=Path, help="folder to write (default: exports/NAME)")

    predict = command("predict", "predict with an exported model: arrays of an npz file, or a dataset's split")
    predict.add_argument("model", type=Path, metavar="MODEL", help="folder that export wrote")
    predict.add_argument("names", nargs="*", metavar="FILE.npz | key=value",
                         help="arrays named like the modalities (and labels), or options of the dataset")  # fmt: skip
    predict.add_argument("--split", choices=["train", "validation", "test"], default="test", help="without a file")
    predict.add_argument("--without", action="append", default=[], metavar="MODALITY", help="leave a modality out")
    predict.add_argument("--output", type=Path, default=Path("predictions.csv"), help="default: predictions.csv")
    predict.add_argument("--device", default="cpu", help="cpu or cuda")

    replay = command("replay", "train a run again from its record alone, or ask a search's proposals again")
    replay.add_argument("what", metavar="RUN | NAME", help="the beginning of a run's hash, or a searched sweep")
    replay.add_argument("names", nargs="*", metavar="key=value", help="where the data of the run lies now (root=...)")
    replay.add_argument("--local", action="store_true", help="in this process, without Ray")
    replay.add_argument("--address", help="address of a running Ray cluster")

    clean = command("clean", "free disk: checkpoints of ended runs, weights that no sweep keeps")
    clean.add_argument("--keep", choices=["none", "best", "all"], help="weights to keep (default: as each sweep says)")
    clean.add_argument("--orphans", action="store_true", help="also delete runs that belong to no sweep any more")
    clean.add_argument("--stale", action="store_true", help="also delete runs of earlier code, to be trained anew")
    clean.add_argument("--dry-run", action="store_true", help="say what would go, delete nothing")
    return top


def _add_execution(command: argparse.ArgumentParser) -> None:
    _add_where(command, "one run after another in this process, without Ray")
    command.add_argument("--force", action="store_true", help="train every run again, also those that are done")
    command.add_argument("--dry-run", action="store_true", help="say what would be trained, train nothing")
    command.add_argument("--no-report", action="store_true", help="train only")


def _add_where(command: argparse.ArgumentParser, local: str) -> None:
    command.add_argument("--local", action="store_true", help=local)
    command.add_argument("--address", help="address of a running Ray cluster (default: RAY_ADDRESS, else this machine)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. arguments None: those of this process, which is then the command's own:
    its outputs fail no more, and memory that it has freed stays at hand."""
    if arguments is not None:
        return _exit_code(_parsed_options(arguments))
    output = make_outputs_unfailing()
    print_warnings_as_lines()
    code = _exit_code(_parsed_options(None), is_own_process=True)
    say_what_was_lost(output)
    return code


def _exit_code(options: argparse.Namespace, is_own_process: bool = False) -> int:
    try:
        return _answered_or_run(options, is_own_process)
    except KeyboardInterrupt:  # at any moment, as while torch is imported
        from sweep.commands.console import print_interruption

        print_interruption()
        return INTERRUPTED


def _answered_or_run(options: argparse.Namespace, is_own_process: bool) -> int:
    from sweep.commands.console import print_mistake
    from sweep.results.tables import ResultsError
    from sweep.storage.files import LockedError, StoreError, refusal_text

    try:
        if options.command in ANSWERED:
            from sweep.commands.known_answers import answer  # without all that the commands import

            if answer(options):
                return DONE
        if is_own_process:
            with without_collection():
                from data.base.allocation import keep_freed_memory
            keep_freed_memory()
        return _code_of_command(options)
    except LockedError as held:
        print_mistake(str(held))
        return LOCKED
    except (StoreError, ResultsError) as error:
        print_mistake(str(error))
        return FAILED
    except OSError as error:
        if error.filename is None:  # no file's: a mistake in the code
            raise
        print_mistake(refusal_text(error))
        return FAILED


def _code_of_command(options: argparse.Namespace) -> int:
    with without_collection():
        from data.base import DataError
        from data.registry import UnusableError
        from sweep.commands.console import print_mistake
        from sweep.config import ConfigError
    try:
        with without_collection():
            command = import_module(f"sweep.commands.{options.command}")
        return int(command.run_command(options))
    except (ConfigError, DataError, UnusableError) as mistake:
        print_mistake(str(mistake))
        return MISTAKE


def _parsed_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse as argparse does, with names and key=value also after options."""
    top = argument_parser()
    options, rest = top.parse_known_args(arguments)
    late = getattr(options, "names", getattr(options, "overrides", None))
    wrong = [word for word in rest if word.startswith("-") or late is None]
    if wrong:
        top.error(f"unrecognized arguments: {' '.join(wrong)}; see python -m sweep {options.command} --help")
    if late is not None:
        late += rest
    return options
