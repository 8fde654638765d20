"""Export: the best run, or a named one, as a folder that predicts what the run recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweep.inference.export import export_model
from sweep.inference.model import ModelError, load_model
from sweep.inference.predict import prediction_table, read_split
from sweep.results.tables import load
from sweep.runs.store import Store


def recorded(store: Store, run_hash: str) -> dict[str, float]:
    """Test metrics that the run left."""
    found: dict[str, dict[str, float]] = json.loads((store.run(run_hash).path / "test.json").read_text())
    return found["metrics"]


@pytest.mark.parametrize("label", ["iprm", "aug"])
def test_an_exported_model_predicts_what_the_run_recorded(store: Store, tmp_path: Path, label: str) -> None:
    card = export_model(store, "s", tmp_path / "model", label=label)
    model = load_model(tmp_path / "model")
    _, scores = prediction_table(model, read_split(model, "test", {}), [])
    expected = recorded(store, card.hash)
    assert card.label == label
    for name, value in scores.items():
        assert value == pytest.approx(expected[f"test_{name}"], abs=1e-6), name
    assert {"accuracy", "map", "macro_f1", "accuracy_left"} <= scores.keys()


def test_the_best_run_is_chosen_on_validation_data_over_all_seeds(store: Store, tmp_path: Path) -> None:
    rows = load(store.results / "s")
    rows = rows[rows["label"].eq("iprm")]
    means = rows.groupby("configuration")["validation_accuracy"].mean()
    best = rows[rows["configuration"].eq(means.idxmax())]
    expected = best.loc[best["validation_accuracy"].idxmax(), "hash"]
    assert export_model(store, "s", tmp_path / "model", label="iprm").hash == expected


def test_a_named_run_whose_weights_were_dropped_is_refused_with_the_remedy(store: Store, tmp_path: Path) -> None:
    dropped = next(
        h for h in load(store.results / "s")["hash"] if not (store.run(h).path / "weights.safetensors").exists()
    )
    with pytest.raises(ModelError, match="keep: all"):
        export_model(store, "s", tmp_path / "model", run=dropped[:8])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run": "zz"}, "no single run 'zz'"),
        ({"label": "iprn"}, "did you mean iprm"),
        ({"dataset": "digit"}, "did you mean digits"),
    ],
)
def test_export_names_what_there_is(store: Store, tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        export_model(store, "s", tmp_path / "model", **options)
