"""The page of a method in docs/methods, which somebody reads before choosing hyperparameters, and what its class says
beside that."""

from __future__ import annotations

import re
from pathlib import Path

import methods
from sweep.commands.method_pages import method_page

FOLDER = Path(__file__).resolve().parents[2] / "docs/methods"

SAID_BY = {
    # Of dropout, igm and iprm it depends on the hyperparameters.
    "capturable": (
        "amss", "aug", "bss", "cggm", "di_mml", "domfn", "ensemble", "gblend", "inforeg", "joint", "lfa", "mbsd",
        "mmcosine", "mmpareto", "mses", "mslr", "opm", "pmr", "reconboost", "relearning", "smv", "umt", "unimodal",
    ),
    "computes_with_features": (
        "agm", "amss", "bss", "cggm", "gblend", "lfa", "opm", "pmr", "relearning", "umt"
    ),
    "drop_last": ("bss",),
    "clips_apart": ("ensemble",),
}  # fmt: skip
"""What the class of a method says -> the methods that say so."""


def assert_page_says_what_is_declared(name: str) -> None:
    """Compare the page with the declarations, but for the list of sweeps: hyperparameters with their defaults and
    ranges, costs, words. ``make docs`` writes it anew. What the class says besides is held to :data:`SAID_BY`."""
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    without_sweeps = re.sub(r"\n## Sweeps\n.*?(?=\n## |\Z)", "", page, flags=re.DOTALL)
    kind = methods.get(name)
    assert method_page(kind).splitlines() == without_sweeps.splitlines()
    said = {attribute for attribute in SAID_BY if getattr(kind, attribute, False) is True}
    assert said == {attribute for attribute, names in SAID_BY.items() if name in names}
