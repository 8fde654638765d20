"""``python -m sweep run``: train what is missing of sweeps, then report."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

import data
from sweep.commands.console import terminal
from sweep.commands.dry_run import print_dry_run
from sweep.commands.exit_codes import DONE, FAILED
from sweep.commands.kept_answers import Question, depends_on_files_elsewhere, keeping, question_about
from sweep.commands.terminal import named_sweeps, names_and_overrides
from sweep.config import ConfigError, Sweep
from sweep.engine import interrupts
from sweep.plan.check_data import require_data
from sweep.runs.environment import check_packages
from sweep.runs.identity import code_digest
from sweep.runs.open_store import open_store
from sweep.runs.store import Store
from sweep.storage.files import LockedError, StoreError
from sweep.storage.remote import is_uri


def run_command(options: argparse.Namespace) -> int:
    """Run the sweeps that are named, with the values that are overridden. Raises ConfigError, StoreError."""
    code_digest()  # before methods and datasets are imported: whatever is rewritten from here on is noticed
    names, _ = names_and_overrides(options.names)
    questions = {} if options.dry_run or options.force else {name: question_about(options, name) for name in names}
    return run_sweeps(options, named_sweeps(options), questions)


def run_sweeps(
    options: argparse.Namespace,
    sweeps: Sequence[Sweep],
    questions: Mapping[str, Question | None] = MappingProxyType({}),
) -> int:
    """Train what is missing of each sweep and report, or say what would be trained. questions: by name, those whose
    answer may be kept. Raises ConfigError, StoreError."""
    check_packages()
    store = open_store(options.results)
    if options.dry_run:
        for sweep in sweeps:
            print_dry_run(sweep, store, terminal())
        return DONE
    check_paths(sweeps, options.results)
    if len(sweeps) > 1:
        require_data(sweeps)  # each is planned when its turn comes, which may be hours later
    # Ray takes long to import; a dry run does without.
    from sweep.engine.execute import Execution, execute
    from sweep.engine.on_ray.session import RaySession

    interrupts.install()
    failed = False
    with RaySession(options.address) as ray:
        for sweep in sweeps:
            console = terminal()
            question = questions.get(sweep.name) if _is_steady(sweep) else None
            try:
                with keeping(question) as keeper:
                    keeper.stamp(question.indexed() if question else [])
                    tally = execute(sweep, store, Execution(options.local, options.force), ray, console)
                    if tally.kept == tally.total == tally.done:
                        keeper.keep(console.said)
                failed |= bool(tally.failed or tally.diverged)
            except KeyboardInterrupt:
                _report_unless(options, store, sweep.name, console)
                raise
            except LockedError:
                raise
            except StoreError as error:
                again = "" if error.lasting else "run the same command again to go on, "
                raise StoreError(f"{error}; {again}what was finished is kept") from error
            _report_unless(options, store, sweep.name, console)
    return FAILED if failed else DONE


def _is_steady(sweep: Sweep) -> bool:
    """Tell whether a sweep and what its runs left decide alone that nothing is left to do: of one whose configurations
    are proposed, or whose budget ends before it does, more does."""
    return not (sweep.search or sweep.budget or depends_on_files_elsewhere(sweep))


def _report_unless(options: argparse.Namespace, store: Store, name: str, console: Console) -> None:
    """Write the report, where it is wanted; a first Ctrl-C lets it be finished."""
    if not options.no_report:
        # Matplotlib and Plotly take long to import; --no-report does without.
        from sweep.commands.report import publish_report

        with interrupts.deferred():
            publish_report(store, name, console)


def check_paths(sweeps: Sequence[Sweep], results: str) -> None:
    """Refuse relative paths inside a Ray job: its working folder is a copy that is thrown away. Raises ConfigError."""
    if "RAY_JOB_ID" not in os.environ and "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        return
    remedy = "a Ray job runs in a throw-away copy of the folder; give an absolute path that all nodes share, or a URI"
    if not is_uri(results) and not Path(results).is_absolute():
        raise ConfigError(f"--results {results} is relative: {remedy}")
    for sweep in sweeps:
        for dataset, options in sweep.data.items():
            for key in data.get(dataset).paths & options.keys():
                if options[key] is not None and not Path(options[key]).is_absolute():
                    raise ConfigError(f"{sweep.name}: data.{dataset}.{key} {options[key]} is relative: {remedy}")
