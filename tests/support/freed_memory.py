"""What this process does with memory that it frees, asked of glibc itself."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

BLOCK = 40 * 2**20
"""Bytes of a block that glibc, left to itself, asks the system for: its own threshold rises to 32 MiB at most."""


class _Account(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


def has_glibc() -> bool:
    return hasattr(ctypes.CDLL(None), "mallinfo2")


def keeps_freed_memory() -> bool:
    """Tell whether a large block comes from the heap, where it stays when it is freed, and not from the system. None of
    its pages is touched."""
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = _Account
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.restype, library.free.argtypes = None, [ctypes.c_void_p]
    before = library.mallinfo2().hblks
    block = library.malloc(BLOCK)
    mapped = library.mallinfo2().hblks - before
    library.free(block)
    return mapped == 0


def in_child(act: Callable[[], object]) -> bool:
    """Tell whether a child of this process keeps freed memory once it has done ``act``."""
    if (child := os.fork()) == 0:
        code = 2
        try:
            act()
            code = int(keeps_freed_memory())
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1), "the child failed"
    return code == 1
