"""``python -m sweep predict``: predictions of an exported model on arrays of a file or on a split of its dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweep.commands.console import print_line
from sweep.commands.exit_codes import DONE
from sweep.commands.terminal import names_and_overrides, settings
from sweep.inference.model import ModelError, load_model
from sweep.inference.predict import prediction_table, read_arrays, read_split
from sweep.results.csv_text import write_csv


def run_command(options: argparse.Namespace) -> int:
    """Write the table of predictions and print the scores. Raises ModelError, DataError, ConfigError."""
    files, overrides = names_and_overrides(options.names)
    if len(files) > 1 or (files and overrides):
        raise ModelError("give one npz file, or options of the dataset, not both")
    if not options.output.parent.is_dir():
        raise ModelError(f"{options.output.parent}: no such folder; make it, or give another file with --output")
    model = load_model(options.model, options.device)
    samples = read_arrays(Path(files[0]), model) if files else read_split(model, options.split, settings(overrides))
    table, scores = prediction_table(model, samples, options.without)
    write_csv(table.reset_index(), options.output)
    for note in samples.notes:
        print_line(note)
    print_line(f"{options.output}: {len(table)} predictions")
    for name, value in scores.items():
        print_line(f"{name.replace('_', ' ')}: {100 * value:.1f} %")
    return DONE
