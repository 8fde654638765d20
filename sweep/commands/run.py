"""``python -m sweep run``: train what is missing of sweeps, then report."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import data
from sweep.commands.answer_origins import noticing_warnings
from sweep.commands.console import terminal
from sweep.commands.dry_run import print_dry_run
from sweep.commands.exit_codes import DONE, FAILED
from sweep.commands.kept_reports import ReportKeeper
from sweep.commands.outlines import OutlineKeeper
from sweep.commands.terminal import named_sweeps
from sweep.config import ConfigError, Sweep
from sweep.engine import interrupts
from sweep.plan.check_data import require_data
from sweep.plan.configurations import Plan
from sweep.runs.code_texts import code_digest
from sweep.runs.environment import check_packages
from sweep.runs.open_store import open_store
from sweep.runs.store import Store
from sweep.storage.files import LockedError, StoreError
from sweep.storage.remote import is_uri


def run_command(options: argparse.Namespace) -> int:
    """Run the sweeps that are named, with the values that are overridden. Raises ConfigError, StoreError."""
    code_digest()  # before methods and datasets are imported: whatever is rewritten from here on is noticed
    keeper = OutlineKeeper(options)
    with noticing_warnings() as warned:
        sweeps = named_sweeps(options)
    return run_sweeps(options, sweeps, None if warned.any else keeper)


def run_sweeps(options: argparse.Namespace, sweeps: Sequence[Sweep], keeper: OutlineKeeper | None = None) -> int:
    """Train what is missing of each sweep and report, or say what would be trained. keeper: of their outlines. Raises
    ConfigError, StoreError."""
    check_packages()
    store = open_store(options.results)
    if options.dry_run:
        for sweep in sweeps:
            print_dry_run(sweep, store, terminal())
            if not options.local and not options.address and "RAY_ADDRESS" not in os.environ:
                _print_lack(sweep)
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
            try:
                how = Execution(options.local, options.force)
                tally = execute(sweep, store, how, ray, terminal(), partial(_keep_outline, keeper))
                failed |= bool(tally.failed or tally.diverged)
            except KeyboardInterrupt:
                _report_unless(options, store, sweep.name)
                raise
            except LockedError:
                raise
            except StoreError as error:
                again = "" if error.lasting else "run the same command again to go on, "
                raise StoreError(f"{error}; {again}what was finished is kept") from error
            _report_unless(options, store, sweep.name)
    return FAILED if failed else DONE


def _print_lack(sweep: Sweep) -> None:
    """Say what this machine lacks for a run, where it lacks anything. A GPU's kind is known to Ray alone."""
    from sweep.engine.on_ray.session import runs_on, this_machine

    try:
        runs_on([this_machine()], sweep.resources.model_copy(update={"accelerator": None}))
    except ConfigError as error:
        terminal().print(f"{sweep.name}: would not run on this machine alone: {error}", style="yellow", soft_wrap=True)


def _keep_outline(keeper: OutlineKeeper | None, planned: Plan) -> None:
    if keeper is not None:
        keeper.keep(planned)


def _report_unless(options: argparse.Namespace, store: Store, name: str) -> None:
    """Write the report, where it is wanted; a first Ctrl-C lets it be finished."""
    if not options.no_report:
        # Matplotlib and Plotly take long to import; --no-report does without.
        from sweep.commands.report import publish_kept_report

        with interrupts.deferred():
            publish_kept_report(store, name, terminal(), ReportKeeper.of(options.results, name))


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
