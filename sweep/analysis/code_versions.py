"""Find means over runs of different code, so that nobody reads them as if one program had given all numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep.analysis.conclusions import name_with_role
from sweep.results.columns import FOLDERS
from sweep.results.tables import columns_of

CONFIGURATION = ["label", "point", "role", "dataset", "configuration"]
MOST_TOLD = 10
UNNAMED = "a folder that earlier records do not name"


@dataclass(frozen=True)
class MixedConfiguration:
    """A configuration whose finished runs were trained by different code, outside its method and dataset.

    name: label and varied values, with its role. counts: runs of each version of the code, the largest first.
    folders: in which the versions differ."""

    name: str
    dataset: str
    counts: tuple[int, ...]
    folders: tuple[str, ...]

    def sentence(self) -> str:
        """Say how many runs each version of the code trained, and where it changed."""
        counts = ", ".join(map(str, self.counts[:-1])) + f" and {self.counts[-1]}"
        return (
            f"{self.name} on {self.dataset}: its mean mixes {counts} runs of different code "
            f"({', '.join(self.folders)} changed between them); run --force trains them again."
        )


def mixed_code_sentences(runs: pd.DataFrame) -> list[str]:
    """Say which means mix results of different code, a sentence a configuration; of many the first MOST_TOLD."""
    mixed = mixed_configurations(runs)
    sentences = [each.sentence() for each in mixed[:MOST_TOLD]]
    more = len(mixed) - len(sentences)
    return [*sentences, f"{more} further configurations mix runs of different code."] if more else sentences


def mixed_configurations(runs: pd.DataFrame) -> list[MixedConfiguration]:
    """Find the configurations whose means mix results of different code. runs: as ``sweep.results.load`` gives them."""
    columns = columns_of(runs, FOLDERS)
    if "env.code" not in runs or runs["env.code"].nunique() < 2:
        return []
    done = runs[runs["status"].eq("done") & runs["env.code"].notna()]
    found = []
    for _, rows in done.groupby(CONFIGURATION, sort=False, dropna=False):
        versions = _versions(rows, columns)
        counts = versions.value_counts()
        if len(counts) > 1:
            first: dict[Any, Any] = rows.iloc[0].to_dict()
            differ = tuple(f"{c.removeprefix(FOLDERS)}/" for c in columns if rows[c].nunique() > 1)
            unnamed = (UNNAMED,) if not columns or rows[columns].isna().any(axis=None) else ()
            sizes = tuple(int(count) for count in counts)
            found.append(MixedConfiguration(name_with_role(first), first["dataset"], sizes, (*differ, *unnamed)))
    return found


def _versions(rows: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Write the version of the code outside every identity that trained each run, as text; all code of an earlier
    record."""
    if not columns:
        return rows["env.code"]
    told = rows[columns].notna().all(axis=1)
    return rows[columns].fillna("").astype(str).agg(" ".join, axis=1).where(told, rows["env.code"])
