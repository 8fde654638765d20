"""Datasets whose media are decoded once into memory-mapped arrays."""

from __future__ import annotations

from data.prepared.forms import Arrays, Form, Stored
from data.prepared.items import SPLITS, Clip, Item, Listing, Medium, SplitName

__all__ = ["SPLITS", "Arrays", "Clip", "Form", "Item", "Listing", "Medium", "SplitName", "Stored"]
