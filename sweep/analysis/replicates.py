"""What the runs of a sweep repeat, in words: the training under seeds, and the splits of the data."""

from __future__ import annotations

import pandas as pd

from sweep.analysis.severities import SOURCE
from sweep.analysis.statistics import split_of

ONE_SPLIT = "on one split"


def splits_text(splits: int) -> str:
    """Say on how many splits something was repeated: "on one split", "on each of 3 splits"."""
    return ONE_SPLIT if splits < 2 else f"on each of {splits} splits"


def repeats_text(repeats: pd.Series, splits: pd.Series) -> str:
    """Say what tests are over: "2 to 4 seeds on one split", "the means of 3 splits".

    repeats, splits: of each row of ``sweep.analysis.differences``."""
    several = splits.gt(1)
    said = []
    for what, counts in (("seed", repeats[~several]), ("split", repeats[several])):
        if len(counts):
            fewest, most = int(counts.min()), int(counts.max())
            count = f"{most}" if fewest == most else f"{fewest} to {most}"
            words = f"{count} {what}{'' if most == 1 else 's'}"
            said.append(f"{words} {ONE_SPLIT}" if what == "seed" else f"the means of {words}")
    return " or ".join(said)


def split_sentences(runs: pd.DataFrame) -> list[str]:
    """Say of each dataset what its intervals are over, and of what they say nothing."""
    named = runs[SOURCE] if SOURCE in runs else runs["dataset"]
    return [f"{dataset}: {_sentence(rows)}" for dataset, rows in runs.groupby(named, sort=False)]


def _sentence(rows: pd.DataFrame) -> str:
    splits = sorted({*split_of(rows)} - {-1})
    draws = set(rows["split_draws"].dropna()) if "split_draws" in rows else set()
    if not splits or draws == {"nothing"}:
        return "intervals are over seeds on one split, the dataset's own; they say nothing of other test samples."
    if len(splits) == 1:
        return f"intervals are over seeds on one split (split_seed {splits[0]}); they say nothing of other splits."
    text = f"intervals are over {len(splits)} splits (split_seed {', '.join(map(str, splits))})"
    if draws == {"test"}:
        return f"{text}, each with test samples of its own; they say nothing of data beyond the dataset."
    if draws == {"validation"}:
        return (
            f"{text} with other validation samples and the same test samples; they say nothing of other test samples."
        )
    return f"{text}."
