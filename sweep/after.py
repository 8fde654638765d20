"""Commands for what comes after a sweep: export its winner, predict with it, replay what it recorded, free its disk."""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Command = Callable[[str, Callable[[argparse.Namespace, Console], int], str], argparse.ArgumentParser]

SAME, DIFFERENT = 0, 1


def add_commands(command: Command) -> None:
    """Tell the command line of them."""
    export = command("export", _export, "write the model of a sweep's best run, or of a named one, into a folder")
    export.add_argument("name", metavar="NAME", help="a sweep that has run")
    export.add_argument("--run", metavar="HASH", help="this run (the beginning of its hash) instead of the best")
    export.add_argument("--label", help="the best of this method of the sweep")
    export.add_argument("--dataset", help="the best on this dataset")
    export.add_argument("--to", type=Path, help="folder to write (default: exports/NAME)")

    predict = command(
        "predict", _predict, "predict with an exported model: arrays of an npz file, or a dataset's split"
    )
    predict.add_argument("model", type=Path, metavar="MODEL", help="folder that export wrote")
    predict.add_argument("names", nargs="*", metavar="FILE.npz | key=value",
                         help="arrays named like the modalities (and labels), or options of the dataset")  # fmt: skip
    predict.add_argument("--split", choices=["train", "validation", "test"], default="test", help="without a file")
    predict.add_argument("--without", action="append", default=[], metavar="MODALITY", help="leave a modality out")
    predict.add_argument("--output", type=Path, default=Path("predictions.csv"), help="default: predictions.csv")
    predict.add_argument("--device", default="cpu", help="cpu or cuda")

    replay = command("replay", _replay, "train a run again from its record alone, or ask a search's proposals again")
    replay.add_argument("what", metavar="RUN | NAME", help="the beginning of a run's hash, or a searched sweep")
    replay.add_argument("names", nargs="*", metavar="key=value", help="where the data of the run lies now (root=...)")
    replay.add_argument("--local", action="store_true", help="in this process, without Ray")
    replay.add_argument("--address", help="address of a running Ray cluster")

    clean = command("clean", _clean, "free disk: checkpoints of ended runs, weights that no sweep keeps")
    clean.add_argument("--keep", choices=["none", "best", "all"], help="weights to keep (default: as each sweep says)")
    clean.add_argument("--orphans", action="store_true", help="also delete runs that belong to no sweep any more")
    clean.add_argument("--dry-run", action="store_true", help="say what would go, delete nothing")


def _export(options: argparse.Namespace, console: Console) -> int:
    from sweep.export import export
    from sweep.store import Store

    target = options.to or Path("exports") / options.name
    store = Store.open(options.results)
    card = export(store, options.name, target, run=options.run, label=options.label, dataset=options.dataset)
    metric = f"validation_{card.run.metric}"
    console.print(
        f"{target}: {card.label} on {card.run.dataset}, run {card.hash}, seed {card.run.seed}, epoch "
        f"{card.selected_epoch}, {metric.replace('_', ' ')} {100 * card.validation[metric]:.1f} %",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    return SAME


def _predict(options: argparse.Namespace, console: Console) -> int:
    from sweep.model import ModelError, load_model
    from sweep.predict import predict, read_arrays, read_split

    files = [word for word in options.names if "=" not in word]
    settings = _settings([word for word in options.names if "=" in word])
    if len(files) > 1 or (files and settings):
        raise ModelError("give one npz file, or options of the dataset, not both")
    model = load_model(options.model, options.device)
    samples = read_arrays(Path(files[0]), model) if files else read_split(model, options.split, settings)
    table, scores = predict(model, samples, options.without)
    table.to_csv(options.output)
    console.print(f"{options.output}: {len(table)} predictions", highlight=False, soft_wrap=True, markup=False)
    for name, value in scores.items():
        console.print(f"{name.replace('_', ' ')}: {100 * value:.1f} %", highlight=False)
    return SAME


def _replay(options: argparse.Namespace, console: Console) -> int:
    from sweep.store import Store

    store = Store.open(options.results)
    store.pull()
    if (store.results / options.what / "study.journal").exists():
        return _replay_search(store.results / options.what, console)
    from sweep.engine.ray_session import RaySession
    from sweep.replay import find_run, replay

    found = find_run(store, options.what)
    with tempfile.TemporaryDirectory(prefix="sweep-replay-") as scratch, RaySession(options.address) as ray:
        result = replay(store, found, Path(scratch), _settings(options.names), options.local, ray, console)
    shown = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "recorded", "again", ""):
        shown.add_column(title, justify="left" if title == "" else "right")
    for number in result.numbers:
        values = ("missing" if value is None else f"{value:.8g}" for value in (number.recorded, number.again))
        shown.add_row(number.name, *values, "" if number.same else "differs")
    console.print(shown)
    for change in result.changed:
        console.print(change, highlight=False, soft_wrap=True)
    verdict = "reproduced" if result.same else f"NOT reproduced: {sum(not n.same for n in result.numbers)} differ"
    console.print(f"{result.hash}: {len(result.numbers)} numbers, {verdict}", highlight=False)
    return SAME if result.same else DIFFERENT


def _replay_search(folder: Path, console: Console) -> int:
    from sweep.config import load_frozen
    from sweep.engine.replay import replay_search
    from sweep.plan import plan

    different = 0
    for study in replay_search(plan(load_frozen(folder / "sweep.yaml")), folder / "study.journal"):
        different += len(study.mismatches)
        console.print(
            f"{study.study}: {study.asked} proposals asked again, {len(study.mismatches)} differ"
            + (f", {study.skipped} moved from an earlier space left out" if study.skipped else ""),
            highlight=False,
        )
        for each in study.mismatches:
            said = f"  {each.number}: recorded {each.recorded}, again {each.again} (proposed by Optuna {each.optuna})"
            console.print(said, highlight=False, soft_wrap=True)
    return DIFFERENT if different else SAME


def _clean(options: argparse.Namespace, console: Console) -> int:
    from sweep.cleaning import remove, waste
    from sweep.store import Store, StoreError, is_uri

    if is_uri(options.results):
        raise StoreError(f"{options.results}: clean works on folders; mount the bucket, or set a rule of its own there")
    store = Store(Path(options.results))
    found, held = list(waste(store, options.keep, options.orphans)), 0
    if not options.dry_run:
        found, held = remove(store, found)
    sizes, counts = Counter[str](), Counter[str]()
    for each in found:
        sizes[each.why] += each.bytes
        counts[each.why] += 1
    for why, size in sizes.items():
        console.print(f"{counts[why]} {why}: {size / 2**20:.1f} MiB", highlight=False)
    verb = "would be freed" if options.dry_run else "freed"
    console.print(f"{sum(sizes.values()) / 2**20:.1f} MiB {verb}", highlight=False)
    if held:
        console.print(f"{held} files of runs that are being trained now were left", highlight=False)
    return SAME


def _settings(words: list[str]) -> dict[str, Any]:
    """key=value words as YAML reads them."""
    import yaml

    from sweep.config import ConfigError

    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is no key=value")
        settings[key.removeprefix("data.")] = yaml.safe_load(value)
    return settings
