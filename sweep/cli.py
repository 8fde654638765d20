"""The command line: ``python -m sweep COMMAND [NAME ...] [--file sweeps.yaml] [--results results] [key=value ...]``.

Exit codes: 0 done, 1 some runs failed, 2 a mistake in the configuration or the command, 3 another process runs the
sweep, 130 interrupted. Heavy packages are imported by the commands that need them."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sweep import after, interrupts

if TYPE_CHECKING:
    from sweep.config import Sweep
    from sweep.store import Store

DONE, FAILED, MISTAKE, LOCKED, INTERRUPTED = 0, 1, 2, 3, interrupts.INTERRUPTED

EXAMPLES = """examples:
  python -m sweep list sweeps                         what sweeps.yaml holds
  python -m sweep prepare crema_d --root path/to/it   decode its media, once (run does so, too)
  python -m sweep run iprm-alpha                      train what is missing, then report
  python -m sweep run iprm-alpha bss-beta --dry-run   what would be trained
  python -m sweep run compare epochs=10 seeds=[0,1]   with other values, for this time
  python -m sweep run compare datasets=[av_digits] data.av_digits.root=path/to/fsdd
  ray job submit --working-dir . -- python -m sweep run compare --results /shared/results

exit codes: 0 done, 1 some runs failed, 2 mistake in configuration or command, 3 locked by a live process,
130 interrupted (run again to go on)"""


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--file", type=Path, default=Path("sweeps.yaml"), help="the sweeps (default: sweeps.yaml)")
    common.add_argument("--results", default="results", help="folder, or URI like s3://bucket/x (default: results)")

    top = argparse.ArgumentParser(
        prog="python -m sweep",
        description="Hyperparameter and method sweeps of balanced multimodal learning, on Ray.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, act: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[common], help=text, description=text[0].upper() + text[1:] + ".")
        made.set_defaults(act=act)
        return made

    command("init", _init, "write a commented sweeps.yaml to start from")

    run = command("run", _run, "train what is missing of sweeps, then report")
    run.add_argument("names", nargs="+", metavar="NAME | key=value", help="sweeps, and values to override in them")
    _execution(run)
    resume = command("resume", _resume, "run a sweep on as it was configured when it last ran")
    resume.add_argument("names", nargs="+", metavar="NAME", help="sweeps that have run before")
    _execution(resume)

    prepare = command("prepare", _prepare, "decode the media of a dataset, once, for every later run")
    prepare.add_argument("dataset", metavar="DATASET", help="its name; see list datasets")
    prepare.add_argument("--root", type=Path, help="folder of the dataset")
    prepare.add_argument("names", nargs="*", metavar="key=value", help="other options of the dataset: profile=20s")
    _where(prepare, "in processes of this machine, without Ray")

    report = command("report", _report, "write the report and figures of sweeps from what has been trained so far")
    report.add_argument("names", nargs="+", metavar="NAME", help="sweeps that have run before")

    about = "list methods, datasets, encoders, sweeps or hyperparameters, or tell all about a method"
    listing = command("list", _list, about)
    listing.add_argument("what", choices=["methods", "method", "datasets", "encoders", "sweeps", "hyperparameters"])
    listing.add_argument("of", nargs="*", metavar="METHOD", help="method, hyperparameters: which (default: all)")

    validate = command("validate", _validate, "check the whole file; names every mistake with its line")
    validate.add_argument("overrides", nargs="*", metavar="key=value", help="values to override in every sweep")

    show = command("show", _show, "show what a sweep is, and which of its runs are done, missing or failed, and why")
    show.add_argument("names", nargs="+", metavar="NAME | key=value", help="sweeps, and values to override in them")

    board = command("dashboard", _dashboard, "serve live dashboards of a sweep on this machine (TensorBoard, Optuna)")
    board.add_argument("name", metavar="NAME", help="a sweep that has run or is running")
    board.add_argument("--kind", choices=["tensorboard", "optuna"], help="default: optuna for a search")
    board.add_argument("--port", type=int, default=8088, help="port on the loopback address (default: 8088)")

    after.add_commands(lambda name, act, text: command(name, lambda options: act(options, _console()), text))
    return top


def _execution(command: argparse.ArgumentParser) -> None:
    _where(command, "one run after another in this process, without Ray")
    command.add_argument("--force", action="store_true", help="train every run again, also those that are done")
    command.add_argument("--dry-run", action="store_true", help="say what would be trained, train nothing")
    command.add_argument("--no-report", action="store_true", help="train only")


def _where(command: argparse.ArgumentParser, local: str) -> None:
    command.add_argument("--local", action="store_true", help=local)
    command.add_argument("--address", help="address of a running Ray cluster (default: RAY_ADDRESS, else this machine)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parse(arguments)
    # Importing torch makes a million objects that live for ever: looking through them for garbage again and again takes
    # a third of the start-up.
    gc.disable()
    from data.base import DataError
    from sweep.config import ConfigError
    from sweep.results import ResultsError
    from sweep.store import LockedError, StoreError

    gc.freeze()
    gc.enable()
    error_console = Console(stderr=True, soft_wrap=True)
    try:
        return int(options.act(options))
    except (ConfigError, DataError) as mistake:
        error_console.print(str(mistake), style="red", highlight=False, markup=False)
        return MISTAKE
    except LockedError as held:
        error_console.print(str(held), style="red", highlight=False, markup=False)
        return LOCKED
    except (StoreError, ResultsError) as error:
        error_console.print(str(error), style="red", highlight=False, markup=False)
        return FAILED
    except KeyboardInterrupt:
        error_console.print("interrupted; run the same command again to go on", style="yellow", highlight=False)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """argparse, with names and key=value also after options."""
    top = parser()
    options, rest = top.parse_known_args(arguments)
    late = getattr(options, "names", getattr(options, "overrides", None))
    wrong = [word for word in rest if word.startswith("-") or late is None]
    if wrong:
        top.error(f"unrecognized arguments: {' '.join(wrong)}; see python -m sweep {options.command} --help")
    if late is not None:
        late += rest
    return options


# Commands ----------------------------------------------------------------------------------------------------------


def _init(options: argparse.Namespace) -> int:
    from sweep.config import ConfigError

    if options.file.exists():
        raise ConfigError(f"{options.file} exists already; give another name with --file")
    options.file.write_text((Path(__file__).parent / "template.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    said = f"wrote {options.file}; try: python -m sweep run first --file {options.file}"
    _console().print(said, highlight=False, soft_wrap=True, markup=False)
    return DONE


def _validate(options: argparse.Namespace) -> int:
    from sweep.config import validate

    sweeps = validate(options.file, options.overrides)
    said = f"{options.file}: {len(sweeps)} sweeps, no mistakes"
    _console().print(said, highlight=False, soft_wrap=True, markup=False)
    return DONE


def _list(options: argparse.Namespace) -> int:
    from sweep import listing

    tables = {
        "methods": listing.methods_table,
        "datasets": listing.datasets_table,
        "encoders": listing.encoders_table,
    }
    if options.what in tables:
        _console().print(tables[options.what]())
    elif options.what == "sweeps":
        _console().print(listing.sweeps_table(options.file))
    elif options.what == "method":
        from sweep import pages

        pages.show(pages.pages(options.of, options.file), _console())
    else:
        for table in listing.hyperparameter_tables(options.of):
            _console().print(table)
    return DONE


def _show(options: argparse.Namespace) -> int:
    from sweep.status import show
    from sweep.store import Store

    for sweep in _load(options):
        show(sweep, Store.open(options.results), _console())
    return DONE


def _run(options: argparse.Namespace) -> int:
    return _execute(options, _load(options))


def _resume(options: argparse.Namespace) -> int:
    from sweep.config import ConfigError, load_frozen
    from sweep.store import Store

    store = Store.open(options.results)
    store.pull(*options.names)
    frozen = {name: store.results / name / "sweep.yaml" for name in options.names}
    for name, path in frozen.items():
        if not path.exists():
            raise ConfigError(f"{path} is missing: {name} has not run with --results {store}; use run")
    return _execute(options, [load_frozen(path) for path in frozen.values()])


def _load(options: argparse.Namespace) -> list[Sweep]:
    from sweep.config import load

    names = [word for word in options.names if "=" not in word]
    return load(options.file, names, [word for word in options.names if "=" in word])


def _execute(options: argparse.Namespace, sweeps: list[Sweep]) -> int:
    from sweep.environment import check_packages
    from sweep.status import check_paths, dry_run
    from sweep.store import LockedError, Store, StoreError

    check_packages()
    store = Store.open(options.results)
    if options.dry_run:
        for sweep in sweeps:
            dry_run(sweep, store, _console())
        return DONE
    check_paths(sweeps, options.results)
    from sweep.engine.ray_session import RaySession
    from sweep.engine.run import Execution, execute

    interrupts.install()
    console, failed = _console(), False
    with RaySession(options.address) as ray:
        for sweep in sweeps:
            try:
                tally = execute(sweep, store, Execution(options.local, options.force), ray, console)
                failed |= bool(tally.failed or tally.diverged)
            except KeyboardInterrupt:
                _report_unless(options, store, sweep.name, console)
                raise
            except LockedError:
                raise
            except StoreError as error:
                raise StoreError(f"{error}; run the same command again to go on, what was finished is kept") from error
            _report_unless(options, store, sweep.name, console)
    return FAILED if failed else DONE


def _prepare(options: argparse.Namespace) -> int:
    from sweep.engine.ray_session import RaySession
    from sweep.preparing import command

    interrupts.install()
    with RaySession(options.address) as ray:
        command(options.dataset, options.root, options.names, options.local, ray, _console())
    return DONE


def _report_unless(options: argparse.Namespace, store: Store, name: str, console: Console) -> None:
    """The report, where it is wanted; a first Ctrl-C lets it be finished."""
    if not options.no_report:
        with interrupts.deferred():
            _write_report(store, name, console)


def _report(options: argparse.Namespace) -> int:
    from sweep.config import ConfigError
    from sweep.store import Store

    store = Store.open(options.results)
    for name in options.names:
        store.pull(name)
        if not (store.results / name / "index.jsonl").exists():
            raise ConfigError(f"{store}/{name} holds no runs: run the sweep first, or give its --results")
        _write_report(store, name, _console())
    return DONE


def _write_report(store: Store, name: str, console: Console) -> None:
    from sweep.report import report, summary_table
    from sweep.results import load, write_tables
    from sweep.store import StoreError

    store.pull(name)
    if not (store.results / name / "index.jsonl").exists():
        return
    try:
        write_tables(store.results, name)
        page = report(store.results, name)
    except OSError as error:
        raise StoreError(f"cannot write the report: {error}; free space or change permissions") from error
    store.publish(name)
    console.print(summary_table(load(store.results / name)))
    console.print(f"report: {page}", highlight=False, soft_wrap=True, markup=False)


def _dashboard(options: argparse.Namespace) -> int:
    from sweep.dashboard import serve
    from sweep.store import Store

    return serve(Store.open(options.results), options.name, options.kind, options.port, _console())


def _console() -> Console:
    # A pipe or a file gets whole lines; a terminal its own width.
    return Console(width=None if sys.stdout.isatty() else 160)
