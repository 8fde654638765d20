"""The identity of a run, by which two runs are the same: a hash of everything that can change a result, and of nothing
else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import data
import methods
from data.base import SPLIT_SEED, DatasetOptions, DatasetSource, corrupted
from sweep.runs.canonical_text import as_json, canonical, digest, plain
from sweep.runs.later_options import without_later
from sweep.runs.reached_code import DIGITS, hex_digest, source_digest
from sweep.runs.records import Run
from sweep.training.numerics import NUMERICS

__all__ = [
    "NUMERICS",
    "choices_hash",
    "code_digests",
    "configuration_hash",
    "content_digest",
    "dataset_key",
    "run_hash",
    "seed_hashes",
    "source_digest",
]


def dataset_key(run: Run) -> str:
    """Name what a run reads: equal for runs of the same data under the same options."""
    return f"{run.dataset}/{run.fingerprint}/{canonical(run.data)}"


def run_hash(run: Run) -> str:
    """Hash the identity of a run into 16 hexadecimal digits. Left out is what cannot change the result: where the data
    lies, which device computes, and the number of workers where the method gives the same updates with any."""
    return digest(_identity(run))


def seed_hashes(run: Run, seeds: Iterable[int]) -> list[str]:
    """Hash the identity of a run under each of several seeds: what else it is, is written as one text once."""
    identity = plain(_identity(run))
    before = as_json({name: value for name, value in identity.items() if name < "seed"})
    after = as_json({name: value for name, value in identity.items() if name > "seed"})
    return [hex_digest(f'{before[:-1]},"seed":{seed},{after[1:]}') for seed in seeds]


def configuration_hash(run: Run) -> str:
    """Hash the identity of a run without its seed and its split: as on the split that its dataset has by default."""
    identity, options = _identity(run), data.get(run.dataset).Options.model_fields
    del identity["seed"]
    if SPLIT_SEED in identity["data"] and SPLIT_SEED in options:
        identity["data"][SPLIT_SEED] = options[SPLIT_SEED].get_default()
    return digest(identity)


def choices_hash(run: Run) -> str:
    """Hash what was chosen for a run, seed and split with it, and neither what its data hold nor the code: what is
    decided by it alone, no label of the test split can change."""
    identity = _identity(run)
    return digest({key: value for key, value in identity.items() if key not in ("fingerprint", "source", "numerics")})


def _identity(run: Run) -> dict[str, Any]:
    method, source = methods.get(run.method), data.get(run.dataset)
    identity = without_later(Run, run.model_dump(mode="json"))
    identity["data"] = without_later(source.Options, identity["data"])
    del identity["train"]["device"]
    for network in (identity["hyperparameters"], *identity["encoders"].values()):
        # Weights to start from count by what they are, not by where they lie.
        if isinstance(pretrained := network.get("pretrained"), str) and Path(pretrained).expanduser().exists():
            network["pretrained"] = content_digest(Path(pretrained).expanduser())
    identity["data"] = {name: value for name, value in identity["data"].items() if name not in source.paths}
    if not method.world_size_matters(method.Hyperparameters.model_validate(run.hyperparameters)):
        del identity["workers"]
    return identity


def code_digests(method: type[methods.Method], source: type[DatasetSource], options: DatasetOptions) -> dict[str, str]:
    """Digest the code that a run reaches, for ``Run.source``: that of its method and of its dataset, and where the
    options corrupt the data, that which does."""
    found = {"method": source_digest(method), "dataset": source_digest(source)}
    return found | ({"corruption": source_digest(corrupted)} if options.corrupt else {})


def content_digest(path: Path) -> str:
    """Digest a file's content, or all files of a folder with their names in it (hidden ones left out); a file is read
    again only when its time or size has changed. Raises OSError."""
    if path.is_dir():
        names = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
        shown = {name: file for name, file in names.items() if not any(p.startswith(".") for p in name.split("/"))}
        return digest({name: content_digest(file) for name, file in shown.items()})
    state = path.stat()
    return _content_digest(path, state.st_mtime_ns, state.st_size)


@cache
def _content_digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
