"""Two gloo processes for tests: run a function in each, collect what it returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _worker(rank: int, size: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
    torch.save(function(*arguments), Path(folder) / f"result-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def run_workers(size: int, folder: Path, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``function(*arguments)`` in ``size`` processes of one gloo group; the results in rank order."""
    mp.spawn(_worker, (size, str(folder), function, arguments), nprocs=size)
    return [torch.load(folder / f"result-{rank}.pt", weights_only=False) for rank in range(size)]
