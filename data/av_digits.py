"""Spoken and written digits: recordings of the Free Spoken Digit Dataset paired with MNIST (or scikit-learn) images.

A small audio-image benchmark in the manner of AV-MNIST (Vielzeuf et al., CentralNet, 2018). How strong each modality
is can be set: held-out speakers and white noise weaken the audio, PCA and noise the image."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from data.base import DataError, Dataset, DatasetOptions, DatasetSource, Description, SampleType
from data.base.files import digest, read_bytes
from data.base.splits import Positions, evenly, generator, stratified_parts
from data.digits import CLASSES, FINGERPRINT, read_digits
from data.prepared.cache.computed import Computed, ComputedSplit, cached_splits
from data.prepared.lists.items import SPLITS, SplitName
from data.readers import mnist
from data.readers.fsdd import RATE, Recording, find_recordings, missing_recordings
from data.readers.wav import read_wav

VERSION = 1
"""Raised whenever the same recordings, images and options give other numbers."""
BINS = 64
"""Mel bands, and frames, of one second."""
_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.1


class AVDigitsOptions(DatasetOptions):
    """Options of ``av_digits``."""

    root: str = Field(min_length=1, description="folder of the Free Spoken Digit Dataset")
    mnist_root: str | None = Field(
        None, min_length=1, description="folder of MNIST's IDX files (null: scikit-learn's 8 x 8 digits)"
    )
    image_pca: float = Field(1.0, gt=0, le=1, description="share of an image's principal components kept")
    image_noise: float = Field(0.0, ge=0, description="deviation of white noise on pixels in [0, 1]")
    audio_noise: float = Field(0.0, ge=0, description="deviation of white noise on the waveform in [-1, 1]")
    test_speakers: list[str] = Field([], description="speakers heard in the test split alone")
    train_samples: int = Field(1000, ge=10, description="training samples, the same number of each digit")
    validation_samples: int | None = Field(None, ge=10, description="null: one for each validation recording")
    test_samples: int | None = Field(None, ge=10, description="null: one for each test recording")
    split_seed: int = Field(0, ge=0, description="draws image splits, pairs and noise")

    @field_validator("test_speakers")
    @classmethod
    def _sorted(cls, speakers: list[str]) -> list[str]:
        if len(set(speakers)) < len(speakers):
            raise ValueError("a speaker is named twice")
        return sorted(speakers)


@dataclass(frozen=True)
class Pairs:
    """Samples of a split: positions of the recordings and of the images, and the digit both show; int64 [n] each."""

    recordings: Positions
    images: Positions
    labels: Positions

    def __len__(self) -> int:
        return len(self.labels)


def log_mel(waves: Tensor) -> Tensor:
    """Compute log-mel spectrograms [n, 1, 64, 64] (bands x frames) of one-second waveforms [n, 8000] at 8 kHz.

    Windows of 32 ms every 15.75 ms; natural logarithm of the mel power plus 1e-4."""
    from torchaudio.transforms import MelSpectrogram

    transform = MelSpectrogram(RATE, n_fft=512, win_length=256, hop_length=126, n_mels=BINS)
    return torch.cat([(transform(part) + 1e-4).log() for part in waves.split(256)]).unsqueeze(1)


def keep_components(images: Tensor, training: Tensor, share: float) -> Tensor:
    """Rebuild images [n, 1, H, W] from only the first ``share`` of the H W principal components of ``training`` [m, 1,
    H, W], around its mean. No more than m - 1 components, as m images have."""
    mean = training.mean(0)
    centred = (training - mean).flatten(1).double()
    count = max(1, min(round(share * centred.shape[1]), len(training) - 1))
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -count:]
    kept = (images - mean).flatten(1).double() @ axes @ axes.T
    return kept.to(images.dtype).view_as(images) + mean


def split_recordings(recordings: Sequence[Recording], test_speakers: Sequence[str]) -> dict[SplitName, Positions]:
    """Give the positions of each split's recordings. test: indices 0 to 4 of all speakers, or everything that
    ``test_speakers`` say; validation: indices 5 to 9 of the other speakers; train: the rest.

    Raises DataError for an unknown speaker and where no speaker is left to train on."""
    speakers = sorted({recording.speaker for recording in recordings})
    for speaker in test_speakers:
        if speaker not in speakers:
            near = difflib.get_close_matches(speaker, speakers, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"test_speakers: no recordings of {speaker!r}; {hint}There are: {', '.join(speakers)}")
    if set(test_speakers) == set(speakers):
        raise DataError(f"test_speakers: every speaker ({', '.join(speakers)}) is held out; leave one to train on")

    def part(recording: Recording) -> SplitName:
        if recording.speaker in test_speakers or (not test_speakers and recording.index < 5):
            return "test"
        return "validation" if 5 <= recording.index < 10 else "train"

    parts = [part(recording) for recording in recordings]
    return {name: np.flatnonzero([p == name for p in parts]) for name in SPLITS}


def split_images(labels: Positions, official: NDArray[np.bool_], seed: int) -> dict[SplitName, Positions]:
    """Give the positions of each split's images, stratified. test: those of MNIST's test part, where training files are
    there too, else 20 % of each digit; validation: 10 % of each digit; train: the rest."""
    if official.any() and not official.all():
        rest = np.flatnonzero(~official)
        validation, train = (rest[part] for part in stratified_parts(labels[rest], (_VALIDATION_SHARE,), seed))
        return {"train": train, "validation": validation, "test": np.flatnonzero(official)}
    test, validation, train = stratified_parts(labels, (_TEST_SHARE, _VALIDATION_SHARE), seed)
    return {"train": train, "validation": validation, "test": test}


def pair(
    name: SplitName, recordings: Sequence[Positions], images: Sequence[Positions], samples: int | None, seed: int
) -> Pairs:
    """Draw ``samples`` pairs (null: one for each recording) of a recording and an image of the same digit.

    recordings, images: positions for each of the ten digits. Each is taken in a seeded order, and again from its
    start when it is through. Digits follow each other 0 to 9, so that any run of samples is nearly balanced.
    Raises DataError for a digit without recordings or images, and for more samples than the larger of the two has."""
    for digit, (sounds, pictures) in enumerate(zip(recordings, images, strict=True)):
        if not len(sounds) or not len(pictures):
            kind = "image" if len(sounds) else "recording"
            raise DataError(f"{name}: no {kind} of the digit {digit}; complete the data, or hold out other speakers")
    counts = [len(sounds) for sounds in recordings] if samples is None else evenly(samples, len(CLASSES))
    most = len(CLASSES) * min(
        max(len(sounds), len(pictures)) for sounds, pictures in zip(recordings, images, strict=True)
    )
    if samples is not None and samples > most:
        raise DataError(
            f"{name}_samples: {samples} are more than can be paired without repeating both recording and image; "
            f"at most {most}"
        )
    steps = [np.arange(count) for count in counts]
    sound, picture = (
        [generator(seed, key, name, d).permutation(of[d])[step % len(of[d])] for d, step in enumerate(steps)]
        for key, of in (("recordings", recordings), ("images", images))
    )
    order = np.argsort(np.concatenate(steps), kind="stable")
    labels = np.repeat(np.arange(len(CLASSES)), counts)
    return Pairs(np.concatenate(sound)[order], np.concatenate(picture)[order], labels[order])


def add_noise(values: Tensor, labels: Positions, deviation: float, seed: int, *stream: str) -> Tensor:
    """Add white noise to ``values`` [n, ...], drawn anew for each sample. The k-th sample of a digit gets the same
    noise however many samples there are."""
    if deviation == 0:
        return values
    noise = np.empty(values.shape, np.float32)
    for digit in np.unique(labels):
        rows = np.flatnonzero(labels == digit)
        noise[rows] = generator(seed, *stream, digit).standard_normal((len(rows), *values.shape[1:]))
    return values + deviation * torch.from_numpy(noise)


def moments(values: Tensor) -> tuple[float, float]:
    """Compute mean and deviation over everything; the deviation is at least 1e-3, as recordings may be silent
    throughout."""
    values = values.double()
    return values.mean().item(), max(values.std().item(), 1e-3)


def read_waves(recordings: Sequence[Recording]) -> tuple[Tensor, int]:
    """Read waveforms [n, 8000], zeros after the end, and how many recordings were cut to one second. Raises
    DataError."""
    waves, cut = np.zeros((len(recordings), RATE), np.float32), 0
    for row, recording in zip(waves, recordings, strict=True):
        samples = read_wav(recording.path, RATE)
        cut += len(samples) > RATE
        row[: min(len(samples), RATE)] = samples[:RATE]
    return torch.from_numpy(waves), cut


def read_images(mnist_root: str | None) -> tuple[Tensor, Positions, NDArray[np.bool_]]:
    """Read images [n, 1, H, W] in [0, 1], their labels [n], and which are of MNIST's test part [n]. Raises
    DataError."""
    if mnist_root is not None:
        pixels, labels, official = mnist.read_mnist(mnist_root)
    else:
        ink, labels = read_digits()
        pixels = ink / np.float32(16)
        official = np.zeros(len(labels), bool)
    return torch.from_numpy(pixels).unsqueeze(1), labels, official


class AVDigits(DatasetSource[AVDigitsOptions]):
    """``audio``: log-mel spectrogram [1, 64, 64]; ``image``: [1, 28, 28] (MNIST) or [1, 8, 8] (scikit-learn). Both
    are standardised by one mean and one deviation of the training samples."""

    name = "av_digits"
    paper = "FSDD with MNIST, in the manner of AV-MNIST (Vielzeuf et al., 2018)"
    title = "Spoken and written digits (FSDD with MNIST)"
    terms = "FSDD: CC BY-SA 4.0; MNIST: CC BY-SA 3.0"
    paths = frozenset({"root", "mnist_root"})
    recipe: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.02,
        "batch_size": 64,
        "schedule": {"name": "cosine"},
        "epochs": 10,
    }
    test_peak = True

    @classmethod
    def modalities(cls, options: AVDigitsOptions) -> tuple[str, ...]:
        return ("audio", "image")

    @classmethod
    def encoders(cls, options: AVDigitsOptions) -> dict[str, Any]:
        return {"audio": {"name": "cnn"}, "image": {"name": "cnn"}}

    @classmethod
    def samples(cls, options: AVDigitsOptions) -> dict[str, SampleType]:
        edge = 8 if options.mnist_root is None else 28
        return {"audio": SampleType((1, BINS, BINS)), "image": SampleType((1, edge, edge))}

    @classmethod
    def describe(cls, options: AVDigitsOptions) -> Description:
        """Look for the files by their names. Raises AbsentDataError, DataError."""
        split_recordings(find_recordings(options.root), options.test_speakers)
        if options.mnist_root is not None:
            mnist.find_files(options.mnist_root)
        return Description(cls.samples(options))

    @classmethod
    def fingerprint(cls, options: AVDigitsOptions) -> str:
        """Digest every recording by name, and the images (unpacked, so that gzip makes no difference)."""
        recordings = find_recordings(options.root)
        split_recordings(recordings, options.test_speakers)  # an unknown speaker is refused before anything is trained
        files = [(recording.path.name, read_bytes(recording.path)) for recording in recordings]
        if options.mnist_root is None:
            return digest([*files, (FINGERPRINT, b"")])
        return digest([*files, *mnist.contents(options.mnist_root)])

    @classmethod
    def load(cls, options: AVDigitsOptions) -> Dataset:
        """Load from the cache, where these options have been loaded before."""
        own = options.model_dump_json(exclude=set(cls.paths))
        found, notes = cached_splits(
            cls.name, f"{cls.fingerprint(options)}/{own}/{VERSION}", lambda: cls._compute(options)
        )
        train, validation, test = (found[name] for name in SPLITS)
        return Dataset(cls.name, cls.modalities(options), CLASSES, train, validation, test, notes=notes)

    @classmethod
    def _compute(cls, options: AVDigitsOptions) -> Computed:
        recordings = find_recordings(options.root)
        recording_parts = split_recordings(recordings, options.test_speakers)
        images, image_labels, official = read_images(options.mnist_root)
        image_parts = split_images(image_labels, official, options.split_seed)
        digits = np.array([recording.digit for recording in recordings])
        samples = {
            "train": options.train_samples,
            "validation": options.validation_samples,
            "test": options.test_samples,
        }
        pairs = {
            name: pair(
                name,
                [recording_parts[name][digits[recording_parts[name]] == d] for d in range(len(CLASSES))],
                [image_parts[name][image_labels[image_parts[name]] == d] for d in range(len(CLASSES))],
                samples[name],
                options.split_seed,
            )
            for name in SPLITS
        }
        waves, cut = read_waves(recordings)
        if options.image_pca < 1:
            training = images[np.unique(pairs["train"].images)]
            used = np.unique(np.concatenate([p.images for p in pairs.values()]))
            images[used] = keep_components(images[used], training, options.image_pca)
        inputs = {name: cls._inputs(name, pairs[name], waves, images, options) for name in SPLITS}
        scale = {modality: moments(values) for modality, values in inputs["train"].items()}
        parts = {
            name: ComputedSplit(
                {m: ((x - scale[m][0]) / scale[m][1]).numpy() for m, x in inputs[name].items()}, p.labels
            )
            for name, p in pairs.items()
        }
        return Computed(parts, cls._notes(options, recordings, pairs, cut))

    @staticmethod
    def _inputs(
        name: SplitName, pairs: Pairs, waves: Tensor, images: Tensor, options: AVDigitsOptions
    ) -> dict[str, Tensor]:
        labels, seed = pairs.labels, options.split_seed
        heard = add_noise(waves[pairs.recordings], labels, options.audio_noise, seed, "audio noise", name)
        seen = add_noise(images[pairs.images], labels, options.image_noise, seed, "image noise", name)
        return {"audio": log_mel(heard), "image": seen}

    @staticmethod
    def _notes(
        options: AVDigitsOptions, recordings: Sequence[Recording], pairs: Mapping[SplitName, Pairs], cut: int
    ) -> tuple[str, ...]:
        notes = []
        for name, chosen in pairs.items():
            for kind, used in (("recordings", chosen.recordings), ("images", chosen.images)):
                distinct = len(np.unique(used))
                if distinct < len(chosen):
                    notes.append(f"{name}: {len(chosen)} samples share {distinct} {kind}")
        missing, first = missing_recordings(recordings)
        if missing:
            notes.append(f"recordings missing: {missing} ({', '.join(first)}{', ...' if missing > len(first) else ''})")
        if cut:
            notes.append(f"recordings longer than one second, cut: {cut}")
        if options.test_speakers:
            notes.append(f"speakers heard in the test split alone: {', '.join(options.test_speakers)}")
        return tuple(notes)
