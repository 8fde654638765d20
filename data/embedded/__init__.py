"""Real data that ship with the package: one folder a dataset, with its arrays (npz) and the licence that travels with
them. A name comes in, arrays go out; nothing else reads these files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.base.dataset import AbsentDataError
from data.readers.numpy_files import NumpyFileError, read_named

FOLDER = Path(__file__).parent


def read_embedded(name: str, *arrays: str) -> list[NDArray[Any]]:
    """Read ``arrays`` of the embedded dataset ``name``, in their order. Raises AbsentDataError where the installed
    package lacks the file or one of the arrays."""
    file = FOLDER / name / f"{name}.npz"
    try:
        found = read_named(file, arrays)
    except (OSError, NumpyFileError) as error:
        raise AbsentDataError(f"{file}: cannot be read ({error}); install the package again") from error
    read = [values for array in arrays if (values := found.get(array)) is not None]
    if len(read) < len(arrays):
        raise AbsentDataError(f"{file}: not the file that belongs here; install the package again")
    return read


def standardised(values: NDArray[Any], training: NDArray[np.int64], axes: tuple[int, ...]) -> NDArray[np.float32]:
    """Standardise ``values`` [n, ...] by mean and population deviation over ``axes`` of the samples at ``training``."""
    exact = values.astype(np.float64)
    chosen = exact[training]
    scaled = (exact - chosen.mean(axes, keepdims=True)) / chosen.std(axes, keepdims=True)
    return scaled.astype(np.float32)
