"""One seed a run, many independent streams: each is derived by name, so that drawing more from one (augmentation,
say) never moves another (the order of the samples)."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, name: str, *keys: int) -> int:
    """Derive a 63-bit seed that depends on all arguments and on nothing else."""
    text = "/".join([str(seed), name, *map(str, keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, name: str, *keys: int) -> torch.Generator:
    """Seed a CPU generator on the stream (seed, name, keys)."""
    return torch.Generator().manual_seed(derive(seed, name, *keys))
