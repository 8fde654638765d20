"""What a search says of its hyperparameters, in tables: effect sizes, and the path from defaults to the choice."""

from __future__ import annotations

from typing import Any

from sweep.analysis.search_effects import ablation_path, dependences
from sweep.analysis.search_results import SearchResult
from sweep.report.blocks import Block, Table

FOREST = (
    "By a random forest fitted to the finished trials, on validation data; a search that adapts tries promising "
    "regions more often."
)


def effect_blocks(search: SearchResult) -> list[Block]:
    """Show effect sizes and the ablation path of a study; nothing for fewer trials than say anything."""
    found, path = dependences(search), ablation_path(search)
    if not found:
        return []
    title = f"{search.label} on {search.dataset}"
    rows = [
        [each.name, f"{each.effect:.2f}", f"{each.effect_low:.2f} to {each.effect_high:.2f}",
         _text(each.values[int(each.mean.argmax())])]
        for each in found
    ]  # fmt: skip
    headings = ["hyperparameter", f"effect on {search.title}", "95 % interval", "largest at"]
    note = (
        f"{FOREST} Effect: largest less smallest mean over the values of one hyperparameter, averaged over what was "
        "tried of the others (partial dependence); interval over forests of trials drawn with replacement."
    )
    blocks = [Block(f"{title}: effect sizes", table=Table(headings, rows, note=note))]
    steps = [
        [step.name or "first configuration", _text(step.before), _text(step.after), f"{step.predicted:.2f}",
         "–" if not number else f"{step.predicted - path[number - 1].predicted:+.2f}"]
        for number, step in enumerate(path)
    ]  # fmt: skip
    headings = ["changed", "from", "to", f"predicted {search.title}", "gain"]
    note = (
        f"{FOREST} From the first configuration (the defaults, where the space holds them) to the best one, one "
        "hyperparameter at a time, the one first that is expected to gain most."
    )
    return [*blocks, Block(f"{title}: from defaults to the choice", table=Table(headings, steps, note=note))]


def _text(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
