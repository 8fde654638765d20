"""The page of a method in docs/methods, which somebody reads before choosing hyperparameters."""

from __future__ import annotations

import re
from pathlib import Path

import methods
from sweep.commands.method_pages import method_page

FOLDER = Path(__file__).resolve().parents[2] / "docs/methods"


def assert_page_says_what_is_declared(name: str) -> None:
    """Compare the page with the declarations, but for the list of sweeps: hyperparameters with their defaults and
    ranges, costs, words. ``make docs`` writes it anew."""
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    without_sweeps = re.sub(r"\n## Sweeps\n.*?(?=\n## |\Z)", "", page, flags=re.DOTALL)
    assert method_page(methods.get(name)).splitlines() == without_sweeps.splitlines()
