"""Export of a sweep's winner, or of any of its runs, as a model to use: safetensors and a card."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from sweep.analysis.parts import Parts, chosen_run, selection_metric
from sweep.analysis.severities import at_each_severity
from sweep.analysis.standings import standings
from sweep.config.problems import nearest
from sweep.inference.model import WEIGHTS, ModelCard, ModelError, write_card
from sweep.results.tables import load
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.runs.train import load_dataset


def export_model(
    store: Store,
    name: str,
    target: Path,
    *,
    run: str | None = None,
    label: str | None = None,
    dataset: str | None = None,
) -> ModelCard:
    """Write the model of a run of the sweep ``name`` into the folder ``target``.

    run: its hash, or the beginning of it. Without one, the best: of the label that leads in the report (or ``label``,
    on ``dataset``) the configuration with the best mean validation metric over all seeds, a search's choice under its
    report seeds, and of its runs the one with the best validation metric. Raises ModelError where there is no such
    run, or its weights were not kept."""
    rows = load(store.results / name)
    row = _run_of_hash(rows, run) if run else _best_run(rows, label, dataset)
    return write_model(store.run(str(row["hash"])), target, name, str(row["label"]))


def write_model(folder: RunFolder, target: Path, sweep: str, label: str) -> ModelCard:
    """Write the model of one run into the folder ``target``; its card names ``sweep`` and ``label``. Raises ModelError
    where its weights were not kept."""
    weights, config, final = folder.file("weights.safetensors"), folder.config(), folder.final()
    if config is None or final is None or weights is None:
        raise ModelError(
            f"run {folder.path.name} of {sweep} has no weights (status {final.status if final else 'not ended'}): the "
            "sweep keeps those of its best configuration (keep: best); with keep: all and --force they are trained "
            "again and kept"
        )
    data = load_dataset(config)
    environment = folder.environment()
    card = ModelCard(
        sweep=sweep,
        label=label,
        hash=folder.path.name,
        run=config,
        shapes={modality: list(shape) for modality, shape in data.shapes().items()},
        classes=list(data.classes),
        selected_epoch=final.selected_epoch or final.epochs_trained,
        validation=final.metrics,
        packages=environment.packages if environment else {},
    )
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, target / WEIGHTS)
    write_card(target, card)
    return card


def _run_of_hash(rows: pd.DataFrame, run: str) -> pd.Series:
    found = rows[rows["hash"].str.startswith(run)]
    if found["hash"].nunique() != 1:
        why = f"{found['hash'].nunique()} runs begin with it" if len(found) else nearest(run, rows["hash"].tolist())
        said = f"no single run {run!r} in this sweep{': ' if why else ''}{why}"
        raise ModelError(f"{said}; python -m sweep show lists them")
    return found.iloc[0]


def _best_run(rows: pd.DataFrame, label: str | None, dataset: str | None) -> pd.Series:
    rows = at_each_severity(rows)
    for column, wanted in (("label", label), ("dataset", dataset)):
        known = list(dict.fromkeys(rows[column]))
        if wanted is not None and wanted not in known:
            raise ModelError(f"the sweep has no {column} {wanted!r}; {nearest(wanted, known)}")
        if wanted is None and column == "dataset" and len(known) > 1:
            raise ModelError(f"the sweep has several datasets: choose one with --dataset: {', '.join(known)}")
        if wanted is not None:
            rows = rows[rows[column].eq(wanted)]
    label = label or _leading_label(Parts(rows))
    found = None if label is None else chosen_run(rows[rows["label"].eq(label)])
    if found is None:
        raise ModelError("the sweep has no finished run; python -m sweep show says why")
    mine = rows[rows["configuration"].eq(found["configuration"]) & rows["status"].eq("done")]
    fresh = mine[mine["role"].eq("report")]
    mine = fresh if len(fresh) else mine
    return mine.iloc[int(mine[selection_metric(mine)].argmax())]


def _leading_label(parts: Parts) -> str | None:
    """Name the label of the sweep's own that leads as the report says it; None where nothing has finished."""
    table = standings(parts)
    own = table["label"].isin(parts.swept["label"]) & table.get("validation", pd.Series(dtype=float)).notna()
    return str(table["label"][own].iloc[0]) if own.any() else None
