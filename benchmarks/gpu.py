"""How well a GPU is used: steps of every method, an epoch of the largest input, runs that share the card.

    python -m benchmarks.gpu [--out gpu.json] [--minutes 8] [--only SECTION ...] [--small]

Sections run one after another, and none begins after ``--minutes``: what was left out is named in the file. One JSON
is written, anew after each line, so that nothing is lost where the machine goes. ``--only`` names sections to run.
``--small`` shrinks all sizes: to try the sections themselves, on a CPU too, where the numbers mean nothing.

- small runs: milliseconds of an epoch of methods on digits with MLPs, steps one by one and recorded as CUDA graphs;
- sharing: such runs a second, by one process and by four that share the card, with both kinds of steps;
- epoch: IPRM on 6,698 samples, a spectrogram of 257 x 1250 and two frames of 224 x 224 each, two ResNet-18, batches
  of 64: seconds of an epoch by precision (single, tf32, bf16), compiled, recorded, and with the samples on the host;
- input: seconds that reading the same batches takes, without a step, as a share of the epoch's;
- steps: time of each method's step over that of joint training, beside its count of passes (`benchmarks.cost`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import data
import methods
from benchmarks import cost
from data.base import Dataset, Split
from models import encoders
from sweep.training.loop import Training
from sweep.training.recipe import Recipe

CLASSES = tuple("ABCDEF")
BATCH = 64
SECTIONS = ("small runs", "sharing", "epoch", "steps in bf16", "steps in single precision")
Record = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much each section computes."""

    samples: int = 6698
    host_samples: int = 1280
    spectrogram: tuple[int, int] = (257, 1250)
    frames: int = 2
    side: int = 224
    epochs: int = 3
    cost_steps: int = 5
    cost_side: int = 224
    cost_rounds: int = 1
    cases: tuple[str, ...] = tuple(cost.CASES)
    runs: int = 4
    run_epochs: int = 20
    small: tuple[str, ...] = ("joint", "iprm", "bss", "amss", "pmr", "mmpareto", "ensemble", "smv")


SMALL = Sizes(
    samples=6, host_samples=6, spectrogram=(33, 40), side=32, epochs=2, cost_steps=2, cost_side=32, cost_rounds=1,
    cases=("joint", "iprm", "ogm"), runs=2, run_epochs=3, small=("joint",),
)  # fmt: skip


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Wait until the card has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(act: Callable[[], object]) -> float:
    """Measure the seconds until the card has done what ``act`` gives it."""
    wait()
    started = time.perf_counter()
    act()
    wait()
    return time.perf_counter() - started


# Epoch and input ---------------------------------------------------------------------------------------------------


def audiovisual(samples: int, sizes: Sizes) -> Dataset:
    """Noise in the shapes of Kinetics-Sounds: spectrogram [1, 257, 1250], two frames [3, 2, 224, 224] a sample."""
    random = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        shapes = {"audio": (1, *sizes.spectrogram), "video": (3, sizes.frames, sizes.side, sizes.side)}
        # One sample's worth of numbers many times over: drawing 16 GB of them would take minutes.
        inputs: dict[str, Tensor] = {
            m: torch.randn(shape, generator=random).expand(count, *shape).contiguous() for m, shape in shapes.items()
        }
        return Split(inputs, torch.arange(count) % len(CLASSES))

    held_out = split(len(CLASSES))
    return Dataset("audiovisual", ("audio", "video"), CLASSES, split(samples), held_out, held_out)


def training(dataset: Dataset, recipe: Recipe, epochs: int) -> Training:
    """IPRM over two fresh ResNet-18."""
    torch.manual_seed(0)
    spec, kind = encoders.resolve("resnet18"), methods.get("iprm")
    built = {modality: encoders.build(spec, shape) for modality, shape in dataset.shapes().items()}
    method = kind(built, len(CLASSES), kind.Hyperparameters(), epochs)
    return Training(method, dataset, recipe, seed=0)


def epoch_seconds(dataset: Dataset, recipe: Recipe, sizes: Sizes) -> Record:
    """Measure epochs after the first one, which warms up; beside them reading their batches alone."""
    run = training(dataset, recipe, sizes.epochs)
    epochs, seconds = run.epochs(), list[float]()
    for _ in range(sizes.epochs):
        seconds.append(timed(lambda: next(epochs)))
    context = run._context
    read = timed(lambda: [None for _ in context.training_batches(torch.arange(len(dataset.train)), False)])
    best = statistics.median(seconds[1:])
    return {
        "samples": len(dataset.train),
        "first epoch s": round(seconds[0], 3),
        "epoch s": round(best, 3),
        "input s": round(read, 3),
        "input share": round(read / best, 3),
        "peak MiB": round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_available() else None,
    }


def measure_epoch(sizes: Sizes) -> Iterator[Record]:
    with samples_on_the_host():
        recipe = Recipe(lr=0.01, batch_size=BATCH, precision="bf16")
        found = epoch_seconds(audiovisual(sizes.host_samples, sizes), recipe, sizes)
    yield {"case": "bf16, samples on the host", **found}
    whole = audiovisual(sizes.samples, sizes)
    recipes: dict[str, dict[str, Any]] = {
        "bf16": {"precision": "bf16"},
        "tf32": {"precision": "tf32"},
    }
    if torch.cuda.is_available():  # for a CPU two ResNet-18 take minutes to compile
        recipes["bf16, recorded"] = {"precision": "bf16", "cuda_graphs": True}
        recipes["bf16, compiled"] = {"precision": "bf16", "compile": True}
        recipes["bf16, compiled and recorded"] = {"precision": "bf16", "compile": True, "cuda_graphs": True}
    recipes["fp32"] = {}  # the slowest, last
    for label, options in recipes.items():
        recipe = Recipe(lr=0.01, batch_size=BATCH, **options)
        yield {"case": f"{label}, samples on the card", **epoch_seconds(whole, recipe, sizes)}


@contextlib.contextmanager
def samples_on_the_host() -> Iterator[None]:
    """Let no dataset be small enough to live on the card."""
    from sweep.training import device as of_runs

    share, of_runs.DATA_SHARE = of_runs.DATA_SHARE, 0.0
    try:
        yield
    finally:
        of_runs.DATA_SHARE = share


# Steps -------------------------------------------------------------------------------------------------------------


def measure_steps(sizes: Sizes, precision: str) -> Iterator[Record]:
    """Compare the steps of methods with joint training's, in turns, on two ResNet-18."""
    torch.manual_seed(0)
    recipe = Recipe(lr=0.01, batch_size=BATCH if torch.cuda.is_available() else 4, precision=precision)
    dataset = cost.random_data(sizes.cost_steps * recipe.batch_size, sizes.cost_side, device())
    spec = encoders.resolve("resnet18")
    branches = {m: encoders.build(spec, shape).to(device()) for m, shape in dataset.shapes().items()}
    build = partial(cost.Trainer.build, branches=branches, dataset=dataset, recipe=recipe)
    for label in sizes.cases:
        trainer, joint = build(label), build("joint")
        pairs = [(cost.Round(), cost.Round()) for _ in range(sizes.cost_rounds + 1)]
        for own, other in pairs:
            list(zip_longest(trainer.round(own), joint.round(other)))
        ratios = [own.of_a_step("wall") / other.of_a_step("wall") for own, other in pairs[1:]]
        passes = trainer.context.phase.passes
        yield {
            "case": label,
            "passes": passes,
            "step over joint": round(statistics.median(ratios), 3),
            "step over passes": round(statistics.median(ratios) / passes, 3),
            "ms a step": round(1000 * statistics.median(own.of_a_step("wall") for own, _ in pairs[1:]), 2),
        }


# Small runs --------------------------------------------------------------------------------------------------------


def digits() -> Dataset:
    source = data.get("digits")
    return source.load(source.Options())


def small_training(name: str, dataset: Dataset, epochs: int, seed: int, **options: Any) -> Training:
    """A method over MLPs on digits, in batches of 32."""
    torch.manual_seed(seed)
    spec, kind = encoders.resolve("mlp"), methods.get(name)
    built = {modality: encoders.build(spec, shape) for modality, shape in dataset.shapes().items()}
    method = kind(built, dataset.num_classes, kind.Hyperparameters(), epochs)
    return Training(method, dataset, Recipe(batch_size=32, **options), seed=seed, gpu_share=0.25)


def measure_small_runs(sizes: Sizes) -> Iterator[Record]:
    dataset = digits()
    for name in sizes.small:
        found: Record = {"case": name}
        for label, recorded in (("as ever", False), ("recorded", True)):
            epochs = small_training(name, dataset, sizes.run_epochs, 0, cuda_graphs=recorded).epochs()
            next(epochs)
            seconds = [timed(lambda each=epochs: next(each)) for _ in range(sizes.run_epochs - 1)]
            found[f"{label}, ms an epoch"] = round(1000 * statistics.median(seconds), 2)
        yield found


def train_small_runs(runs: int, epochs: int, recorded: bool) -> float:
    """Train ``runs`` small runs one after another, after one to warm up, as others begin to; measure their seconds."""
    dataset = digits()

    def run(seed: int) -> None:
        training = small_training("joint", dataset, epochs, seed, cuda_graphs=recorded)
        for _ in training.epochs():
            pass
        training.result()

    run(0)
    _all_ready.wait(timeout=120)
    return timed(lambda: [run(1 + seed) for seed in range(runs)])


_all_ready: Any = None


def _begin(all_ready: Any) -> None:
    global _all_ready
    _all_ready = all_ready


def throughput(processes: int, sizes: Sizes, recorded: bool) -> float:
    """Measure the runs a second of some processes side by side."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, _begin, (spawn.Barrier(processes),)) as pool:
        seconds = [pool.submit(train_small_runs, sizes.runs, sizes.run_epochs, recorded) for _ in range(processes)]
        return sum(sizes.runs / each.result() for each in seconds)


def measure_sharing(sizes: Sizes) -> Iterator[Record]:
    for label, recorded in (("as ever", False), ("recorded", True)):
        alone = throughput(1, sizes, recorded)
        yield {"case": f"{label}, one process", "runs a second": round(alone, 3)}
        four = throughput(4, sizes, recorded)
        yield {"case": f"{label}, four processes", "runs a second": round(four, 3), "over one": round(four / alone, 2)}


# All ---------------------------------------------------------------------------------------------------------------


def card() -> Record:
    """Describe where this ran."""
    found: Record = {"date": date.today().isoformat(), "torch": torch.__version__, "python": platform.python_version()}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"card": properties.name, "GiB": round(properties.total_memory / 2**30), "cuda": torch.version.cuda}
    return found | {"card": found.get("card", "none: a CPU")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="default: gpu.json")
    parser.add_argument("--minutes", type=float, default=8.0, help="no section begins later (default: 8)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections to run, of all")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the sections")
    options = parser.parse_args()
    sizes = SMALL if options.small else Sizes()
    measures: tuple[Callable[[], Iterator[Record]], ...] = (
        partial(measure_small_runs, sizes),
        partial(measure_sharing, sizes),
        partial(measure_epoch, sizes),
        partial(measure_steps, sizes, "bf16"),
        partial(measure_steps, sizes, "fp32"),
    )
    sections = dict(zip(SECTIONS, measures, strict=True))
    started, found = time.monotonic(), {"where": card(), "left out": []}
    for name, section in sections.items():
        if name not in options.only:
            continue
        found[name] = []
        for record in section():
            found[name].append(record)
            print(f"{name}: {json.dumps(record)}", flush=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            if time.monotonic() - started > 60 * options.minutes:
                found["left out"].append(f"what follows {record['case']} in {name}, and later sections")
                options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
                return


if __name__ == "__main__":
    main()
