"""What every reader asks first: is the file there, is it whole enough to be one, is its library installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from data.base import DataError
from data.base.files import GIT_LFS_POINTER
from data.media import MediaError


def require_file(path: Path) -> None:
    """Check a file: raises MediaError where ``path`` cannot be opened, is empty, or is a Git LFS pointer instead of the
    file."""
    try:
        with path.open("rb") as file:
            start = file.read(len(GIT_LFS_POINTER))
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); check the path and its permissions"
        raise MediaError(path, reason) from error
    if not start:
        raise MediaError(path, "the file is empty; copy or download it again")
    if start == GIT_LFS_POINTER:
        raise MediaError(path, "a Git LFS pointer, not the file itself; run `git lfs pull` in its repository")


def require_package(module: str, package: str, purpose: str) -> ModuleType:
    """Import ``module``. Raises DataError (no file is at fault) that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DataError(f"{purpose} needs the package {package}: pip install {package}") from error
