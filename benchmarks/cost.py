"""What each method costs beside joint training with the same ResNet-18 encoders (spectrogram and image), in one run.

    python -m benchmarks.cost [--steps 5] [--batch 16] [--size 64] [--rounds 4] [--only iprm bss]

A method and joint training take turns, step by step, so that other load meets both alike; a round is an epoch of
``--steps`` steps for each modality (IGM trains one branch in each). The first line is joint training beside itself: how
far the ratios can be trusted. On a GPU where there is one, else on the CPU. For each method:

- passes: forward passes through all encoders that a sample of a step costs, as the method counts them: the ratio that
  its step would have if nothing but the encoders took time;
- step: time of its step over that of joint training in the same round, median over rounds, with the extremes. On a CPU
  in processor time, which other processes disturb less; the ratio of wall times stands beside it;
- extra: what an epoch costs outside its steps (scoring passes, covariances, hypergradients), in steps of joint
  training. Scoring grows with the training set (here ``--steps`` batches), a hypergradient does not;
- MiB: the most that two steps need, the network included.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import nn

import methods
from data.base import Dataset, Split
from methods.base import Method
from models import encoders
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup

CLASSES = tuple("ABCDEF")
BUDGET = 30
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "joint": ("joint", {}),
    "joint + unimodal losses": ("joint", {"unimodal_loss_weight": 1.0}),
    "joint, late_transformer": ("joint", {"fusion": "late_transformer"}),
    "joint, attention over all tokens": ("joint", {"fusion": "attention", "tokens": "all"}),
    "ensemble": ("ensemble", {}),
    "dropout": ("dropout", {}),
    "dropout of batches": ("dropout", {"granularity": "batch", "rates": {"audio": 0.8}}),
    "iprm": ("iprm", {}),
    "bss": ("bss", {}),
    "aug": ("aug", {}),
    "aug with 10 more heads": ("aug", {"assignment": "fixed", "fixed_modality": "audio", "n_fixed": 11}),
    "amss": ("amss", {}),
    "amss without plus": ("amss", {"plus": False}),
    "lfa heuristic": ("lfa", {"strategy": "heuristic"}),
    "lfa learned": ("lfa", {}),
    "igm": ("igm", {"inner_epochs": [1.0, 1.0]}),
    "igm without sam": ("igm", {"inner_epochs": [1.0, 1.0], "use_sam": False}),
    "cggm": ("cggm", {}),
    "cggm without direction": ("cggm", {"direction": "none"}),
    "cml": ("cml", {}),
    "cml by zeros": ("cml", {"removal": "zero"}),
    "gblend after its estimates": ("gblend", {"fixed_weights": [0.3, 0.3, 0.4]}),
    "greedy": ("greedy", {"utilization": False}),
    "inforeg": ("inforeg", {"when": "always"}),
    "mbsd": ("mbsd", {}),
    "mla": ("mla", {}),
    "mmcosine": ("mmcosine", {}),
    "mmpareto": ("mmpareto", {}),
    "mslr": ("mslr", {}),
    "mses": ("mses", {}),
    "di_mml": ("di_mml", {"warmup_epochs": 0}),
    "umt, student": ("umt", {"teacher_epochs": 1}),
    "domfn": ("domfn", {"pretrain_epochs": 0}),
    "amco": ("amco", {"sigma": 0.0}),
    "reconboost": ("reconboost", {}),
    "smv": ("smv", {"warmup_epochs": 0.0}),
    "rollingq": ("rollingq", {"max_rotations": 0}),
    "moka": ("moka", {}),
    "relearning": ("relearning", {"max_resets": 0}),
    "ogm": ("ogm", {}),
    "ogm without ge": ("ogm", {"ge": False}),
    "olm": ("olm", {}),
    "pmr": ("pmr", {}),
    "agm": ("agm", {}),
    "agm of encoders": ("agm", {"grad": "encoder"}),
    "opm": ("opm", {"warmup_epochs": 0.0}),
}
"""Label -> method and hyperparameters; the first is what all are compared with."""


@dataclass
class Seconds:
    """By the wall clock, and of the processor."""

    wall: float = 0.0
    processor: float = 0.0

    @contextmanager
    def counting(self, device: torch.device) -> Iterator[None]:
        """Add what happens inside."""
        _wait(device)
        wall, processor = time.perf_counter(), time.process_time()
        yield
        _wait(device)
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Round:
    """Seconds of the steps of a round, how many these were, and seconds of what lies outside them."""

    steps: Seconds = field(default_factory=Seconds)
    extra: Seconds = field(default_factory=Seconds)
    count: int = 0

    def of_a_step(self, clock: str) -> float:
        """Give the seconds of a step by one of the clocks: a method may show some samples again, in steps of their
        own."""
        return float(getattr(self.steps, clock)) / self.count


@dataclass
class Trainer:
    """A method under the training loop's own context, so that what is measured is what runs."""

    method: Method
    context: TrainingContext
    epoch: int = 0

    @classmethod
    def build(cls, label: str, branches: Mapping[str, nn.Module], dataset: Dataset, recipe: Recipe) -> Trainer:
        """Around copies of the encoders ``branches``, ready for the first epoch."""
        name, hyperparameters = CASES[label]
        kind, device = methods.get(name), next(p.device for branch in branches.values() for p in branch.parameters())
        given = kind.Hyperparameters(**hyperparameters)
        method = kind(copy.deepcopy(dict(branches)), dataset.num_classes, given, BUDGET).to(device)
        context = TrainingContext(method, dataset, recipe, 0, device, WorkerGroup(), lambda message: None)
        method.on_fit_start(context)
        return cls(method, context)

    def round(self, found: Round) -> Iterator[None]:
        """An epoch for each modality, timed; halts after each step."""
        context, method = self.context, self.method
        for _ in method.modalities:
            self.epoch += 1
            with found.extra.counting(context.device):
                context.begin_epoch(self.epoch)
                order = method.sampler(context)
            for batch in context.training_batches(order, method.drop_last):
                with found.steps.counting(context.device):
                    method.training_step(batch, context)
                found.count += 1
                yield
            with found.extra.counting(context.device):
                method.on_epoch_end(context)


def random_data(samples: int, size: int, device: torch.device) -> Dataset:
    """A spectrogram and an image of ``size`` x ``size`` a sample, all noise."""
    random = torch.Generator().manual_seed(0)
    inputs = {m: torch.randn(samples, c, size, size, generator=random) for m, c in (("audio", 1), ("image", 3))}
    split = Split(inputs, torch.arange(samples) % len(CLASSES)).to(device)
    return Dataset("random", tuple(inputs), CLASSES, split, split, split)


def peak_memory(build: Callable[[], Trainer], device: torch.device) -> float:
    """MiB that building a method and one round take, beyond what is held already. On a CPU in a process of its own, by
    how far its largest resident size grows."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        list(build().round(Round()))
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20

    def train(sender: Any) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        list(build().round(Round()))
        sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=train, args=(sender,))
    child.start()
    sender.close()
    kib = receiver.recv()
    child.join()
    return float(kib) / 2**10


def compare(label: str, trainer: Trainer, joint: Trainer, rounds: int, memory: float) -> None:
    """Steps of both in turn, after a round to warm up, and a line of what they took."""
    clock = "wall" if joint.context.device.type == "cuda" else "processor"
    pairs = [(Round(), Round()) for _ in range(rounds + 1)]
    for own, other in pairs:
        list(zip_longest(trainer.round(own), joint.round(other)))
    del pairs[0]
    ratios = [own.of_a_step(clock) / other.of_a_step(clock) for own, other in pairs]
    wall = statistics.median(own.of_a_step("wall") / other.of_a_step("wall") for own, other in pairs)
    took = statistics.median(own.of_a_step(clock) for own, _ in pairs)
    epochs = len(joint.method.encoders)
    extra = statistics.median(getattr(own.extra, clock) / other.of_a_step(clock) / epochs for own, other in pairs)
    print(
        f"{label:26}{trainer.context.phase.passes:6.2f}  {statistics.median(ratios):5.3f}"
        f"  ({min(ratios):.3f}, {max(ratios):.3f})  {wall:5.3f}"
        f"{1000 * took:12.1f}{extra:8.2f}{memory:7.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("steps", 5), ("batch", 16), ("size", 64), ("rounds", 4), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="these beside joint")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a process that has used several cannot be forked
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = Recipe(lr=0.01, batch_size=options.batch, threads=options.threads, precision=options.precision)
    one_step, epoch = (random_data(steps * options.batch, options.size, device) for steps in (1, options.steps))
    spec = encoders.resolve("resnet18")
    branches = {modality: encoders.build(spec, shape).to(device) for modality, shape in epoch.shapes().items()}
    reference = next(iter(CASES))
    labels = [label for label in CASES if label == reference or label in options.only]

    def build(label: str, dataset: Dataset) -> Trainer:
        return Trainer.build(label, branches, dataset, recipe)

    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {options.threads} thread(s)"
    print(f"{where}, {options.precision}; two ResNet-18, {options.size} x {options.size}, batches of {options.batch},")
    print(f"{options.steps} steps an epoch, {options.rounds} rounds\n", flush=True)
    print(f"{'':26}passes   step  (from, to)       wall   ms a step   extra    MiB", flush=True)
    memory = {label: peak_memory(partial(build, label, one_step), device) for label in labels}
    torch.set_num_threads(options.threads)
    for label in labels:
        # Joint training anew for each: its epochs are numbered within a budget.
        joint = build(reference, epoch)
        compare(label, build(label, epoch), joint, options.rounds, memory[label])


if __name__ == "__main__":
    main()
