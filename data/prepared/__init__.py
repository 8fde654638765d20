"""Datasets whose media are decoded once into memory-mapped arrays. ``lists`` says which samples there are and where
their media lie, ``forms`` how a modality is stored and served, ``cache`` decodes and keeps; a dataset joins the
three by deriving from :class:`data.prepared.source.PreparedSource`. The files of a cache are touched by ``cache``
alone."""

from __future__ import annotations

from data.prepared.forms import (
    Arrays,
    Form,
    Stored,
)
from data.prepared.lists.items import (
    SPLITS,
    Clip,
    Item,
    Listing,
    Medium,
    SplitName,
)

__all__ = ["SPLITS", "Arrays", "Clip", "Form", "Item", "Listing", "Medium", "SplitName", "Stored"]
