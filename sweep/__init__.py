"""Sweeps of balanced multimodal learning, a room for each part of the way from sweeps.yaml to a report.

Each room says in its ``__init__`` what comes in, what goes out, and what no other room may touch.

python -m sweep --help
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.inference.model import Model, load_model

__all__ = ["Model", "load_model"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: whoever only reads declarations does without torch's slower parts.
    if name in __all__:
        from sweep.inference import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
