"""Standard output and standard error that cannot fail (what is printed decides about no training and no exit code), and
warnings as users read them."""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from typing import TextIO


class UnfailingOutput(io.RawIOBase):
    """Writes to a file descriptor, as far as that takes it: a reader that has gone, a full disk and a terminal that was
    closed lose the text, and nothing else."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure: OSError | None = None
        """The first reason why text was lost."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content) -> int:  # type: ignore[no-untyped-def]
        """Write all of ``content``, or drop what cannot be written. Returns its length either way."""
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            self.failure = self.failure or error
        return size


def make_outputs_unfailing() -> UnfailingOutput:
    """Replace sys.stdout and sys.stderr of this process; returns the former's output. Characters that their encoding
    lacks are replaced, too."""
    _open_closed_descriptors()
    output = UnfailingOutput(1 if sys.stdout is None else sys.stdout.fileno())
    errors = UnfailingOutput(2 if sys.stderr is None else sys.stderr.fileno())
    sys.stdout = _text(output, sys.stdout, "replace")
    sys.stderr = _text(errors, sys.stderr, "backslashreplace")
    return output


def print_warnings_as_lines() -> None:
    """Print what warns a user as one line, without the place in the code where it was noticed; warnings for programmers
    as before."""
    as_before = warnings.formatwarning

    def line_of(message: Warning | str, category: type[Warning], *place: object, **more: object) -> str:
        return f"warning: {message}\n" if category is UserWarning else as_before(message, category, *place, **more)  # type: ignore[arg-type]

    warnings.formatwarning = line_of


def say_what_was_lost(output: UnfailingOutput) -> None:
    """Say on standard error why standard output is incomplete; a reader that has gone knows."""
    sys.stdout.flush()
    if output.failure is not None and output.failure.errno != errno.EPIPE:
        print(f"standard output is incomplete: {output.failure.strerror}", file=sys.stderr, flush=True)


def _open_closed_descriptors() -> None:
    """Let descriptors that the caller has closed lead nowhere: else the next files to be opened would get them, and
    what is printed by others with them."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gives the lowest that is free


def _text(output: UnfailingOutput, before: TextIO | None, errors: str) -> TextIO:
    """Write text to ``output`` as the stream before it did; None: it was closed."""
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding="utf-8" if before is None else before.encoding,
        errors=errors,
        line_buffering=getattr(before, "line_buffering", True),
        write_through=getattr(before, "write_through", False),
    )
