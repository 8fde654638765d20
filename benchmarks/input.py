"""What it costs to read the training data: decoding in every epoch against the decode-once cache, side by side.

    python -m benchmarks.input [--clips 600] [--epochs 3] [--threads 1] [--processes 3]

Clips like those of CREMA-D are written first: 16 kHz sound of 1.3 to 5 s, jpg pictures of 480 x 360. A sample is a
spectrogram of 257 x 188 and one picture of 224 x 224, augmented, in batches of 64. Measured in turns:
- decode: the same functions, in two workers of a DataLoader and the rest in torchvision, as the official
  repositories do;
- cache: batches from the mapped arrays, in the training process;
- step: ResNet-18 for sound and for pictures, one training step of the joint method;
- memory: processes that read the whole cache: resident, shared and private sizes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Samples

import methods
from data.base import Dataset
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
MODALITIES = {
    "audio": {"kind": "audio", "rate": 22050, "seconds": 3.0, "n_fft": 512, "hop": 353, "fill": "tile"},
    "video": {"kind": "video", "size": 224, "stored_size": 256},
}


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


def options(file: Path) -> ManifestOptions:
    return ManifestOptions.model_validate({"root": str(file), "modalities": MODALITIES})


class Decoding(Samples[tuple[Tensor, Tensor, int]]):
    """Opens the files of a sample whenever it is asked for."""

    def __init__(self, items: tuple[Item, ...], found: ManifestOptions) -> None:
        from torchvision import transforms

        self.items, self.audio = items, Manifest.forms(found)["audio"]
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
        (values,) = self.audio.decode(item.media["audio"], "train").values()
        frames = item.media["video"]
        assert isinstance(frames, tuple)
        with Image.open(frames[int(torch.randint(len(frames), ()))]) as picture:
            return torch.from_numpy(values).float(), self.transform(picture.convert("RGB")), item.label


def decode_epoch(samples: Decoding) -> None:
    for _ in DataLoader(samples, BATCH, shuffle=True, num_workers=2):
        pass


def cached_epoch(dataset: Dataset, epoch: int) -> None:
    order = torch.randperm(len(dataset.train), generator=seeds.generator(0, "order", epoch))
    for number, part in enumerate(order.split(BATCH)):
        dataset.train.draw(part, "cpu", lambda name, n=number: seeds.generator(0, name, epoch, n))  # type: ignore[misc]


def seconds(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def step_seconds(dataset: Dataset, threads: int) -> float:
    """Of a training step on a whole batch, without its input; the second of two."""
    kind = methods.get("joint")
    built = {m: encoders.build({"name": "resnet18"}, shape) for m, shape in dataset.shapes().items()}
    method = kind(built, dataset.num_classes, kind.Hyperparameters(), 1)
    training = Training(method, dataset, Recipe(batch_size=BATCH, threads=threads, device="cpu"), seed=0)
    batch = next(training._context.training_batches(torch.arange(BATCH) % len(dataset.train), drop_last=True))
    training.method.train()
    return [seconds(lambda: training.method.training_step(batch, training._context)) for _ in range(2)][-1]


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
    arguments.add_argument("--clips", type=int, default=600)
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=1, help="of the training process")
    arguments.add_argument("--processes", type=int, default=3)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ[VARIABLE] = str(Path(scratch, "caches"))
        Path(scratch, "clips").mkdir()
        file = write_clips(Path(scratch, "clips"), chosen.clips)
        work = Manifest.preparation(options(file))
        workers = processors()
        spent = seconds(lambda: prepare(work, pool_runner(workers)))
        print(f"prepare: {spent:.1f} s in {workers} processes, {size(work.ending([]).bytes)} for {work.size} clips")
        dataset, samples = Manifest.load(options(file)), Decoding(work.listing.splits["train"], options(file))
        torch.set_num_threads(chosen.threads)
        cached_epoch(dataset, 0)
        decoded, cached = [], []
        for epoch in range(1, chosen.epochs + 1):
            decoded.append(seconds(lambda: decode_epoch(samples)))
            cached.append(seconds(lambda epoch=epoch: cached_epoch(dataset, epoch)))  # type: ignore[misc]
        slow, fast = statistics.median(decoded), statistics.median(cached)
        print(f"decode: {slow:.3f} s an epoch of {chosen.clips} clips ({_list(decoded)}), 2 workers")
        print(
            f"cache:  {fast:.3f} s an epoch ({_list(cached)}), {chosen.threads} threads: {slow / fast:.1f} times faster"
        )
        step, own = step_seconds(dataset, chosen.threads), fast * BATCH / chosen.clips
        print(f"step:   {step:.2f} s for {BATCH} samples, input {1000 * own:.0f} ms: {100 * own / (step + own):.2f} %")
        memory(file, chosen.processes)


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
