"""``python -m sweep init``: a commented sweeps.yaml to start from."""

from __future__ import annotations

import argparse
from importlib.resources import files

from sweep.commands.exit_codes import DONE
from sweep.commands.terminal import print_line
from sweep.config import ConfigError


def run_command(options: argparse.Namespace) -> int:
    """Write the file. Raises ConfigError where it exists."""
    if options.file.exists():
        raise ConfigError(f"{options.file} exists already; give another name with --file")
    template = files("sweep.commands").joinpath("template.yaml").read_text(encoding="utf-8")
    options.file.write_text(template, encoding="utf-8")
    print_line(f"wrote {options.file}; try: python -m sweep run first --file {options.file}")
    return DONE
