"""What it costs to read the training data: decoding in every epoch against the decode-once cache, side by side.

    python -m benchmarks.input [--clips 384] [--epochs 3] [--workers 0] [--threads 1] [--processes 3] [--only-input]

Clips like those of CREMA-D are written first: 16 kHz sound of 1.3 to 5 s, jpg pictures of 480 x 360. A sample is a
spectrogram (profile 3s: 257 x 188, 20s: 257 x 1250) and one picture of 224 x 224, augmented, in batches of 64. Counted
are processor seconds and page faults of all processes that take part, one epoch of each way after the other:
- official: librosa, Pillow and torchvision in a DataLoader, as the official repositories do (where librosa is
  installed: pip install librosa); with --workers what its processes cost, too;
- decode: this project's decoders in the same place;
- cache: batches from the mapped arrays, in a process as a user's own is;
- kept: the same in a process as sweeps start it, which keeps freed memory (data.base.allocation).
Then, unless --only-input is given:
- step: ResNet-18 for sound and for pictures, one training step of the joint method;
- memory: processes that read the whole cache: resident, shared and private sizes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Samples

import methods
from data.base import Dataset
from data.base.allocation import keep_freed_memory
from data.manifest import Manifest, ManifestOptions
from data.prepared.cache.decoding import prepare
from data.prepared.cache.folder import VARIABLE, size
from data.prepared.cache.pool import pool_runner, processors
from data.prepared.lists.items import Item
from models import encoders
from sweep.training import seeds
from sweep.training.loop import Training
from sweep.training.recipe import Recipe

BATCH, CLASSES, HELD_OUT = 64, 6, 12
RATE, WINDOW, HOP = 22050, 512, 353
PROFILES = {"3s": 3.0, "20s": 20.0}
"""Seconds of sound."""
WAYS = ("official", "decode", "cache", "kept")


def write_clips(root: Path, count: int) -> Path:
    """``count`` training clips and some for validation and test, listed in a CSV file."""
    random, lines = np.random.RandomState(0), ["audio,video,label,split"]
    for k in range(count + 2 * HELD_OUT):
        samples = random.randint(20800, 80000)
        tone = np.sin(np.arange(samples) * random.uniform(0.05, 0.5)) + random.randn(samples) / 5
        with wave.open(str(root / f"{k}.wav"), "wb") as sound:
            sound.setparams((1, 2, 16000, 0, "NONE", ""))
            sound.writeframes((8000 * tone).astype("<i2").tobytes())
        (root / str(k)).mkdir()
        for frame in range(3):
            small = Image.fromarray(random.randint(0, 256, (12, 16, 3), np.uint8))
            small.resize((480, 360), Image.Resampling.BICUBIC).save(root / f"{k}/{29 * frame:05d}.jpg", quality=90)
        split = "train" if k < count else "validation" if k < count + HELD_OUT else "test"
        lines.append(f"{k}.wav,{k},{k % CLASSES},{split}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root / "clips.csv"


def options(file: Path, profile: str = "3s") -> ManifestOptions:
    audio = {"kind": "audio", "rate": RATE, "seconds": PROFILES[profile], "n_fft": WINDOW, "hop": HOP, "fill": "tile"}
    modalities = {"audio": audio, "video": {"kind": "video", "size": 224, "stored_size": 256}}
    return ManifestOptions.model_validate({"root": str(file), "modalities": modalities})


class Decoding(Samples[tuple[Tensor, Tensor, int]]):
    """Opens the files of a sample whenever it is asked for. official: the sound by librosa."""

    def __init__(self, items: tuple[Item, ...], file: Path, profile: str, official: bool) -> None:
        from torchvision import transforms

        self.items, self.audio = items, Manifest.forms(options(file, profile))["audio"]
        self.samples, self.official = round(RATE * PROFILES[profile]), official
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, int]:
        torch.set_num_threads(1)
        item = self.items[row]
        sound, frames = item.media["audio"], item.media["video"]
        assert isinstance(sound, Path)
        assert isinstance(frames, tuple)
        spectrogram = self._official_sound(sound) if self.official else self._own_sound(sound)
        with Image.open(frames[int(torch.randint(len(frames), ()))]) as picture:
            return torch.from_numpy(spectrogram), self.transform(picture.convert("RGB")), item.label

    def _own_sound(self, path: Path) -> NDArray[np.float32]:
        return self.audio.decode(path, "train")["spectrogram"].astype(np.float32)

    def _official_sound(self, path: Path) -> NDArray[np.float32]:
        import librosa

        wave, _ = librosa.load(path, sr=RATE)
        wave = np.tile(wave, -(-self.samples // len(wave)))[: self.samples].clip(-1, 1)
        return np.log(np.abs(librosa.stft(wave, n_fft=WINDOW, hop_length=HOP)) + 1e-7)


@cache
def _decoding(file: Path, profile: str, official: bool) -> Decoding:
    items = Manifest.preparation(options(file, profile)).listing.splits["train"]
    decoding = Decoding(items, file, profile, official)
    decoding[0]  # what is imported or compiled once
    return decoding


@cache
def _dataset(file: Path, profile: str) -> Dataset:
    return Manifest.load(options(file, profile))


def epoch(way: str, file: Path, profile: str, number: int, workers: int, threads: int) -> None:
    """Read every training sample once, in batches."""
    torch.set_num_threads(threads)
    if way in ("official", "decode"):
        for _ in DataLoader(_decoding(file, profile, way == "official"), BATCH, shuffle=True, num_workers=workers):
            pass
        return
    train = _dataset(file, profile).train
    order = torch.randperm(len(train), generator=seeds.generator(0, "order", number))
    for batch, part in enumerate(order.split(BATCH)):
        train.draw(part, "cpu", lambda name, n=batch: seeds.generator(0, name, number, n))  # type: ignore[misc]


def spent(act: Callable[..., object], *arguments: object) -> tuple[float, int]:
    """Processor seconds and page faults of ``act``, those of the processes that it has started and waited for too."""
    before = _usage()
    act(*arguments)
    for child in multiprocessing.active_children():
        child.join()  # only then its seconds are known
    seconds, faults = _usage()
    return seconds - before[0], faults - before[1]


def _usage() -> tuple[float, int]:
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found), sum(usage.ru_minflt for usage in found)


def compare(file: Path, profile: str, chosen: argparse.Namespace, plain: ProcessPoolExecutor,
            keeping: ProcessPoolExecutor) -> float:  # fmt: skip
    """Print what each way costs, epochs in turns; return the milliseconds a sample of the last of them."""
    ways = [way for way in WAYS if way != "official" or find_spec("librosa")]
    found: dict[str, list[tuple[float, int]]] = {way: [] for way in ways}
    for number in range(1 + chosen.epochs):
        for way in ways:
            process = keeping if way == "kept" else plain
            asked = process.submit(spent, epoch, way, file, profile, number, chosen.workers, chosen.threads)
            found[way].append(asked.result())
    costs = {}
    for way, epochs in found.items():
        each = [1000 * seconds / chosen.clips for seconds, _ in epochs[1:]]  # the first one opens files, imports
        faults = statistics.median(count for _, count in epochs[1:]) / chosen.clips
        costs[way] = statistics.median(each)
        print(f"{profile:4} {way:9} {costs[way]:7.3f} ms a sample ({_list(each)}), {faults:6.1f} page faults a sample")
    for way in ways[:-2]:
        ratios = [f"{costs[way] / costs[fast]:.1f} ({fast})" for fast in ("cache", "kept")]
        print(f"{profile:4} times as fast as {way}: {', '.join(ratios)}", flush=True)
    return costs["kept"]


def step_seconds(dataset: Dataset, threads: int) -> float:
    """Processor seconds of a training step on a whole batch, without its input; the second of two."""
    kind = methods.get("joint")
    built = {m: encoders.build({"name": "resnet18"}, shape) for m, shape in dataset.shapes().items()}
    method = kind(built, dataset.num_classes, kind.Hyperparameters(), 1)
    training = Training(method, dataset, Recipe(batch_size=BATCH, threads=threads, device="cpu"), seed=0)
    batch = next(training._context.training_batches(torch.arange(BATCH) % len(dataset.train), drop_last=True))
    training.method.train()
    return [spent(training.method.training_step, batch, training._context)[0] for _ in range(2)][-1]


READER = """
import sys, torch
from benchmarks.input import options
from data.manifest import Manifest
from pathlib import Path
def sizes():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    private = found["Private_Clean"] + found["Private_Dirty"]
    return f"{found['Rss']} {found['Pss']} {found['Shared_Clean'] + found['Shared_Dirty']} {private}"
torch.set_num_threads(1)
chosen = options(Path(sys.argv[1]))
Manifest.forms(chosen)
print(sizes(), flush=True)
train = Manifest.load(chosen).train
for part in torch.arange(len(train)).split(8):
    train.gather(part)
print("read", flush=True)
sys.stdin.readline()
print(sizes(), flush=True)
sys.stdin.readline()
"""


def memory(file: Path, processes: int) -> None:
    """Print the sizes of processes that have all read the whole cache and are alive together."""
    command = [sys.executable, "-c", READER, str(file)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    read = [(process.stdin, process.stdout) for process in running]
    before = [_numbers(out.readline()) for _, out in read if out]
    for _, out in read:
        assert out is not None
        out.readline()
    after = []
    for write, out in read:
        assert write is not None
        assert out is not None
        write.write("\n")
        write.flush()
        after.append(_numbers(out.readline()))
    for process in running:
        process.communicate("\n")
    for number, (first, last) in enumerate(zip(before, after, strict=True)):
        words = ("resident", "proportional", "shared", "private")
        said = ", ".join(
            f"{word} {a / 1024:.0f} -> {b / 1024:.0f}" for word, a, b in zip(words, first, last, strict=True)
        )
        print(f"memory: process {number}: {said} MiB (before -> after reading the cache)")


def _numbers(line: str) -> list[int]:
    return [int(word) for word in line.split()]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--clips", type=int, default=384)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--workers", type=int, default=0, help="of the DataLoader that decodes")
    arguments.add_argument("--threads", type=int, default=1, help="of the training process")
    arguments.add_argument("--processes", type=int, default=3)
    arguments.add_argument("--only-input", action="store_true")
    chosen = arguments.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[VARIABLE] = str(Path(scratch, "caches"))
        Path(scratch, "clips").mkdir()
        file = write_clips(Path(scratch, "clips"), chosen.clips)
        workers = processors()
        for profile in PROFILES:
            work = Manifest.preparation(options(file, profile))
            seconds, _ = spent(prepare, work, pool_runner(workers))
            kept = size(work.ending([]).bytes)
            print(
                f"{profile:4} prepare: {seconds:.1f} s in {workers} processes, {kept} for {work.size} clips", flush=True
            )
        with (
            ProcessPoolExecutor(1, spawn) as plain,
            ProcessPoolExecutor(1, spawn, initializer=keep_freed_memory) as keeping,
        ):
            costs = {profile: compare(file, profile, chosen, plain, keeping) for profile in PROFILES}
        if chosen.only_input:
            return
        own, step = BATCH * costs["3s"] / 1000, step_seconds(_dataset(file, "3s"), chosen.threads)
        print(f"step: {step:.2f} s for {BATCH} samples, input {1000 * own:.0f} ms: {100 * own / (step + own):.2f} %")
        memory(file, chosen.processes)


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
