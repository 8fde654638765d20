"""``python -m sweep init``: a commented sweeps.yaml to start from."""

from __future__ import annotations

import argparse
import shlex
from importlib.resources import files
from pathlib import Path

from sweep.commands.console import print_line
from sweep.commands.exit_codes import DONE
from sweep.config import ConfigError


def run_command(options: argparse.Namespace) -> int:
    """Write the file. Raises ConfigError where it exists, or its folder does not."""
    if options.file.exists():
        raise ConfigError(f"{options.file} exists already; give another name with --file")
    if not options.file.parent.is_dir():
        raise ConfigError(f"{options.file.parent}: no such folder; make it, or give another file with --file")
    template = files("sweep.commands").joinpath("template.yaml").read_text(encoding="utf-8")
    if options.file != Path("sweeps.yaml"):
        for command in ("run first", "validate"):
            template = template.replace(
                f"sweep {command}\n", f"sweep {command} --file {shlex.quote(str(options.file))}\n"
            )
    options.file.write_text(template, encoding="utf-8")
    print_line(f"wrote {options.file}; try: python -m sweep run first --file {options.file}")
    return DONE
