"""Reading media files: one function a kind, from a path to an array. Knows no datasets and no cache."""

from __future__ import annotations

from pathlib import Path


class MediaError(ValueError):
    """One file that cannot be used: ``reason`` says why, in words that fit behind the file's name."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason

    def __reduce__(self) -> tuple[type[MediaError], tuple[Path, str]]:
        return MediaError, (self.path, self.reason)


__all__ = ["MediaError"]
