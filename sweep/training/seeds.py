"""One seed a run, many independent streams: each is derived by name, so that drawing more from one (augmentation,
say) never moves another (the order of the samples)."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, name: str, *keys: int) -> int:
    """Derive a 63-bit seed that depends on all arguments and on nothing else."""
    text = "/".join([str(seed), name, *map(str, keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_default(seed: int, device: torch.device) -> None:
    """Seed torch's own generators of the CPU and of ``device``, from which dropout draws.

    ``torch.manual_seed`` seeds those of all kinds of devices. For each that is not there it notes from where it was
    called, which takes longer than a step of a small network."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def generator(seed: int, name: str, *keys: int) -> torch.Generator:
    """Seed a CPU generator on the stream (seed, name, keys)."""
    return torch.Generator().manual_seed(derive(seed, name, *keys))
