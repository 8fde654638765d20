"""What an answer of a command came from: digests by which it is noticed that the command would say something else."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.runs.program import has_plug_ins
from sweep.runs.records import is_sweep_name

if TYPE_CHECKING:
    from sweep.config import Sweep


def digest_of(*parts: Any) -> str:
    """Digest values that JSON holds."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def file_digests(paths: Iterable[Path]) -> dict[str, str | None]:
    """Digest the content of files; None for what is no file that can be read."""
    found = dict[str, str | None]()
    for path in paths:
        found[str(path)] = None
        with suppress(OSError):
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def is_local_sweep(results: str, name: str) -> bool:
    """Tell whether the folder of a sweep lies on this machine, and can be named."""
    return "://" not in results and is_sweep_name(name)


def depends_on_files_elsewhere(sweep: Sweep) -> bool:
    """Tell whether the plan of a sweep depends on what is neither code nor results: data or weights on this machine,
    methods or datasets of other packages. Only looking at them tells whether they are the same."""
    import data
    from sweep.config import freeze

    return has_plug_ins() or any(data.get(name).paths for name in sweep.datasets) or "pretrained" in freeze(sweep)


@dataclass
class Warned:
    """any: something was warned of."""

    any: bool = False


@contextmanager
def noticing_warnings() -> Iterator[Warned]:
    """Notice warnings: beside one no answer may be kept, which would be given without it."""
    warned, show = Warned(), warnings.showwarning

    def shown(*said: Any, **options: Any) -> None:
        warned.any = True
        show(*said, **options)

    warnings.showwarning = shown
    try:
        yield warned
    finally:
        warnings.showwarning = show
