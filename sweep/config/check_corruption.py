"""Check what a sweep corrupts: that the samples can be corrupted so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from data.base import DatasetOptions, SampleType
from data.base.corruption import sample_refusal
from sweep.config.problems import Path, Problem
from sweep.config.schema import Sweep
from sweep.runs.severities import CORRUPT


def corruption_problems(
    sweep: Sweep, options: DatasetOptions, samples: Mapping[str, SampleType], path_of: Callable[[Path], Path]
) -> Iterator[Problem]:
    """Find what cannot be corrupted so. samples: those that are known, by modality; path_of: where the value at a path
    within the options was written."""
    for modality, corruption in options.corrupt.items():
        sample = samples.get(modality)
        reason = sample and sample_refusal(corruption, sample.shape, sample.tokens)
        if reason:
            yield sweep.problem_of_whole(path_of((CORRUPT, modality)), reason)


def absence_refusal(options: DatasetOptions) -> str | None:
    """Say why encoders that run side by side cannot be trained on these data; None where they can."""
    lacking = [m for m, c in options.corrupt.items() if c.drop and not c.segment and c.where == "all"]
    if not lacking:
        return None
    return (
        "what encoders see is mixed between their stages, so they cannot be trained on samples that lack "
        f"{lacking[0]}; corrupt the test split alone (where: test), or drop a segment"
    )
