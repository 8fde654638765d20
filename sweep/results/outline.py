"""A plan in words: what ``show``, ``report``, and a ``run`` with nothing to do need of it. It is kept beside the index
of the sweep: to import torch and all that declares methods and datasets, and to plan, takes seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sweep.runs.program import program_digest
from sweep.storage.kept_files import read_kept, write_kept

FILE = ".outline"
"""In the folder of a sweep."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OutlinedConfiguration(_Part):
    """A configuration that is known before training, in words; seeds: hash of each of its runs -> seed."""

    label: str
    values: str
    dataset: str
    seeds: dict[str, int]


class LeftOut(_Part):
    """A configuration that its method refuses; see :class:`~sweep.plan.not_applicable.NotApplicable`."""

    label: str
    values: dict[str, Any]
    dataset: str
    reason: str


class Outline(_Part):
    """A plan in words. asked: digest of how the sweep was asked for. frozen: the text of its sweep.yaml. expected: how
    many runs it has, may_end_sooner: or fewer. is_listed: all of them are known before training, as nothing is
    proposed, chosen, or left for another day."""

    name: str
    asked: str
    title: str | None
    reproduces: str | None
    frozen: str
    expected: int | None
    may_end_sooner: bool
    is_listed: bool
    configurations: list[OutlinedConfiguration]
    left_out: list[LeftOut]

    @property
    def hashes(self) -> set[str]:
        """Return the hash of every run."""
        return {run_hash for configuration in self.configurations for run_hash in configuration.seeds}


def values_text(values: Mapping[str, Any]) -> str:
    """Write varied values as a list of words."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def configuration_text(label: str, values: str) -> str:
    """Name a configuration by its label, and by its varied values where there are any."""
    return f"{label} {values}" if values else label


def kept_outline(folder: Path) -> Outline | None:
    """Read the outline that is kept in a sweep's folder; None where there is none, or another program made it."""
    content = read_kept(folder / FILE, program_digest())
    try:
        return None if content is None else Outline.model_validate_json(content)
    except ValidationError:
        return None


def keep_outline(folder: Path, outlined: Outline) -> None:
    """Keep an outline in a sweep's folder, where that can be written."""
    write_kept(folder / FILE, program_digest(), outlined.model_dump_json().encode())
