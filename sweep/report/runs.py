"""Parts of the report about the runs themselves: budgets, failures and their causes, configuration, environment."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from sweep.analysis.completeness import SweepRequest
from sweep.analysis.parts import configuration_name
from sweep.analysis.severities import SOURCE
from sweep.analysis.statistics import FAILED, estimate_quantity, half_width, split_of
from sweep.analysis.trained_epochs import trained_epochs_text
from sweep.report.blocks import MOST_LISTED, Block, Table
from sweep.results.tables import columns_of
from sweep.runs.records import FinalRecord, TestRecord

NOTED = 500
"""Runs whose logs are read for notes, spread evenly over all: they say the same a thousand times."""


def budget_blocks(runs: pd.DataFrame, request: SweepRequest, raced: int) -> list[Block]:
    """Set side by side the budget and the cost of each method and reference, so that equal budgets can be checked.

    raced: configurations that are out of a race."""
    trained = runs.drop_duplicates(["hash", "label", "role"])
    rows = []
    for (label, dataset, role), part in trained.groupby(["label", "dataset", "role"], sort=False):
        ran = part[part["status"].isin(["done", *FAILED])]
        rows.append(
            [
                str(label) + {"report": " (fresh seeds)", "reference": " (reference)"}.get(str(role), ""),
                str(dataset), str(part["configuration"].nunique()), str(part["seed"].nunique()),
                str(max(1, split_of(part).nunique())), str(len(ran)),
                trained_epochs_text(ran) or "–",
                *(_sum_text(ran, column) for column in ("epochs_trained", "samples", "forward_passes")),
                f"{_total(ran, 'seconds'):,.0f} s",
            ]
        )  # fmt: skip
    headings = ["method", "dataset", "configurations", "seeds", "splits", "runs", "epochs a run", "epochs",
                "samples seen", "forward passes", "wall time"]  # fmt: skip
    note = "Sums over all runs that have ended, pruned and failed ones included; forward passes in samples."
    blocks = [Block("Budgets", table=Table(headings, rows, note=note))]
    if (said := shortfall(runs, request, raced)) is not None:
        blocks.insert(0, Block("Fewer runs than planned", said))
    return blocks


def shortfall(runs: pd.DataFrame, request: SweepRequest, raced: int) -> str | None:
    """Say where fewer runs have ended than the sweep asks for; None where all have."""
    ended = runs[runs["status"].isin(["done", *FAILED])]
    have, planned = len(ended.drop_duplicates(["hash", "role", "label"])), request.expected_runs
    if planned is None or have >= planned:
        return None
    reasons = [f"a budget of {request.budget} a driver"] if request.budget else []
    reasons += ["early stopping"] if runs["status"].eq("pruned").any() else []
    reasons += [f"a race that {raced} {'configuration' if raced == 1 else 'configurations'} left"] if raced else []
    why = f" The sweep has {', '.join(reasons)}." if reasons else ""
    return (
        f"{have} of at most {planned} runs that the sweep asks for have ended.{why} What is compared here may rest on "
        "unequal numbers of configurations or seeds; running the sweep again goes on."
    )


def failure_blocks(results: Path, runs: pd.DataFrame) -> list[Block]:
    """List runs without a result by cause, by reason and one by one, then those that were tried again."""
    ran = runs.drop_duplicates("hash")
    lost, blocks = ran[~ran["status"].eq("done")], []
    if len(lost):
        causes = lost["cause"].fillna("").where(lost["status"].eq("failed"), "")
        causes = causes.mask(lost["status"].eq("failed") & causes.eq(""), "error")
        counts = Counter(zip(lost["status"], causes, lost["reason"].fillna("–"), strict=True))
        by_cause = Counter(zip(lost["status"], causes, strict=True))
        kinds = [[status, cause or "–", str(count)] for (status, cause), count in by_cause.most_common()]
        rows = [[s, c or "–", r, str(n)] for (s, c, r), n in counts.most_common(MOST_LISTED)]
        blocks = [
            Block("By cause", table=Table(["status", "cause", "runs"], kinds)),
            Block("By reason", table=Table(["status", "cause", "reason", "runs"], rows)),
            Block("Each run", table=_runs_table(lost.assign(cause=causes))),
        ]
    return [*blocks, *_retry_blocks(results, ran)]


def _runs_table(lost: pd.DataFrame) -> Table:
    rows = [
        [
            configuration_name(r), r["dataset"], str(r["seed"]), r["status"], r["cause"] or "–",
            r["reason"] if isinstance(r["reason"], str) else "–", _count_text(r.get("attempts")), r["hash"],
        ]
        for r in lost.head(MOST_LISTED).to_dict("records")
    ]  # fmt: skip
    note = (
        f"The first {MOST_LISTED} of {len(lost)}."
        if len(lost) > MOST_LISTED
        else "log.txt in the folder of a run holds the traceback."
    )
    return Table(["configuration", "dataset", "seed", "status", "cause", "reason", "attempts", "run"], rows, note=note)


def _retry_blocks(results: Path, ran: pd.DataFrame) -> list[Block]:
    """Count runs that needed more than one attempt, with the ends of the earlier ones."""
    if "attempts" not in ran or not (again := ran[ran["attempts"].fillna(1).gt(1)]).shape[0]:
        return []
    reasons: Counter[str] = Counter()
    for name in again["hash"].head(MOST_LISTED):
        try:
            final = FinalRecord.model_validate_json((results / "runs" / name / "final.json").read_bytes())
        except (OSError, ValidationError):
            continue  # begun again since it was read
        reasons.update(set(final.failures) or {"interrupted: went on from its last checkpoint"})
    ended = Counter(again["status"])
    said = ", ".join(f"{count} {status}" for status, count in ended.most_common())
    text = f"{len(again)} runs were started more than once ({said} in the end)."
    rows = [[reason, str(count)] for reason, count in reasons.most_common(MOST_LISTED)]
    return [Block("Retries", text, table=Table(["what an earlier attempt ended with", "runs"], rows))]


def configuration_blocks(results: Path, runs: pd.DataFrame, text: str) -> list[Block]:
    """Show the frozen sweep, the data with what is to be known of them, and other notes from the logs of runs."""
    blocks = [Block(summary="sweep.yaml, as it was run", code=text)] if text else []
    rows, named = [], runs[SOURCE] if SOURCE in runs else runs["dataset"]
    for dataset, part in runs.groupby(named, sort=False):
        fingerprints = ", ".join(map(str, part.get("fingerprint", pd.Series(dtype=str)).dropna().unique()))
        rows.append([str(dataset), fingerprints, _columns_text(part, "data."), _columns_text(part, "encoder.")])
    blocks.append(Block("Data", table=Table(["dataset", "fingerprint", "options", "encoders"], rows)))
    notes, of_data = _notes(results, runs.assign(dataset=named))
    if of_data:
        told = [[dataset, note] for dataset, note in of_data]
        blocks.append(Block("Notes on the data", table=Table(["dataset", "note"], told[:MOST_LISTED])))
    if notes:
        lines = [[note, str(count)] for note, count in notes.most_common(MOST_LISTED)]
        done = runs.loc[runs["status"].eq("done"), "hash"].nunique()
        said = f"Of {NOTED} logs, spread evenly over those of {done} finished runs." if done > NOTED else ""
        blocks.append(Block("Notes from the logs of finished runs", table=Table(["note", "runs"], lines, note=said)))
    return blocks


def _notes(results: Path, runs: pd.DataFrame) -> tuple[Counter[str], list[tuple[str, str]]]:
    """Count the lines of the logs of finished runs, each by the runs that wrote it, without what is said of the data;
    also list what is, with the dataset, once each."""
    done = runs[runs["status"].eq("done")].drop_duplicates("hash")
    notes, of_data = Counter[str](), dict[tuple[str, str], None]()
    some = done.iloc[:: max(1, -(-len(done) // NOTED))]
    for name, dataset in zip(some["hash"], some["dataset"], strict=True):
        said = _data_notes(results / "runs" / name)
        of_data |= dict.fromkeys((str(dataset), note) for note in said)
        log = results / "runs" / name / "log.txt"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        # A note of several lines is several in the log.
        notes.update({*lines} - {"", *(line for note in said for line in note.splitlines())})
    return notes, list(of_data)


def _data_notes(folder: Path) -> list[str]:
    """Read what a run notes of its data; nothing where its record cannot be read."""
    try:
        return TestRecord.model_validate_json((folder / "test.json").read_bytes()).data_notes
    except (OSError, ValidationError):
        return []  # begun again since it was read


def _columns_text(rows: pd.DataFrame, prefix: str) -> str:
    """Write the columns of a group as text; a varied one is only named as such."""
    found = {c.removeprefix(prefix): rows[c].dropna().unique() for c in columns_of(rows, prefix)}
    return ", ".join(f"{k}={_as_whole(v[0]) if len(v) == 1 else 'varied'}" for k, v in found.items() if len(v))


def _as_whole(value: Any) -> Any:
    """Give a whole number as such: beside a run that lacks it, a column holds it as a fraction."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def environment_blocks(runs: pd.DataFrame) -> list[Block]:
    """Show the cost of a run, and the environments that runs ran in."""
    ran = runs.drop_duplicates("hash")
    ran = ran[ran["status"].isin(["done", *FAILED])]
    if ran.empty:
        return []
    rows = []
    for (label, dataset), part in ran.groupby(["label", "dataset"], sort=False):
        cost = [
            f"{part['seconds'].sum():.1f} s", _mean_text(part["seconds_per_epoch"], "{:.3f} s"),
            _mean_text(part["samples_per_second"], "{:,.0f}"), f"{part['peak_memory_mib'].max():,.0f} MiB",
            _mean_text(part["samples"], "{:,.0f}"), _mean_text(part["forward_passes"], "{:,.0f}"),
        ]  # fmt: skip
        rows.append([str(label), str(dataset), str(len(part)), *cost])
    headings = ["label", "dataset", "runs", "wall time", "an epoch", "samples/s", "peak memory", "samples a run",
                "forward passes a run"]  # fmt: skip
    facts = []
    for column in [c for c in columns_of(ran, "env.") if c not in ("env.command", "env.started")]:
        counts = ran[column].value_counts()
        texts = [(str(_as_whole(value)), n) for value, n in counts.items()]
        words = [f"{text} ({n} runs)" if len(texts) > 1 else text for text, n in texts if text]
        if words:
            facts.append([column.removeprefix("env.packages.").removeprefix("env."), ", ".join(words)])
    costs = Table(
        headings,
        rows,
        note=(
            "Wall time is the sum over runs; memory the largest; the others are means ± half of the 95 % t interval "
            "over runs, or its ends where 0 cuts it."
        ),
    )
    return [Block("Cost", table=costs), Block("Environment", table=Table(["", ""], facts))]


def _mean_text(values: pd.Series, form: str) -> str:
    found = estimate_quantity(values)
    if not found.n:
        return "–"
    half, mean = float(half_width(found.deviation, found.n)), form.format(found.mean)
    if math.isnan(half):
        return mean
    low, high, width = (form.format(value).rstrip(" s") for value in (0, found.mean + half, half))
    return f"{mean} ± {width}" if half <= found.mean else f"{mean} ({low} to {high})"


def _total(rows: pd.DataFrame, column: str) -> float:
    return float(rows[column].sum()) if column in rows else 0.0


def _sum_text(rows: pd.DataFrame, column: str) -> str:
    return f"{_total(rows, column):,.0f}"


def _count_text(value: float | None) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:g}"
