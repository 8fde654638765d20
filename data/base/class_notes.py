"""What a reader of results must know of the classes of a dataset: those that a split has no sample of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike


def class_notes(classes: Sequence[str], labels: Mapping[str, ArrayLike]) -> Iterator[str]:
    """Say which classes no split has, which are met in validation or test alone, and which of training these lack.
    labels: split -> label of each sample; those outside [0, classes) are refused elsewhere."""
    there = {split: set(np.unique(np.asarray(of)).tolist()) for split, of in labels.items()}
    anywhere, trained = set[int]().union(*there.values()), there["train"]
    if absent := [name for label, name in enumerate(classes) if label not in anywhere]:
        yield f"no split has a sample of {_counted(absent)}"
    for split, own in there.items():
        if untrained := [name for label, name in enumerate(classes) if label in own - trained]:
            yield f"{split}: {_counted(untrained)} that no training sample has, and no model can learn"
        if lacking := [name for label, name in enumerate(classes) if label in trained - own]:
            yield f"{split}: no sample of {_counted(lacking)} that {'is' if len(lacking) == 1 else 'are'} trained on"


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} class{'' if len(names) == 1 else 'es'} ({first_names(names)})"


def first_names(names: Sequence[str], show: int = 5) -> str:
    """List names, the first few of many."""
    return ", ".join(map(repr, names[:show])) + (f" and {len(names) - show} more" if len(names) > show else "")
