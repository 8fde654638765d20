"""Export: the best run, or a named one, as a folder that predicts what the run recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.small_runs import make_plan

import methods
from sweep.inference.export import export_model, write_model
from sweep.inference.model import WEIGHTS, ModelError, load_model
from sweep.inference.predict import prediction_table, read_split
from sweep.results.tables import load
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.runs.train import train


def recorded(folder: RunFolder) -> dict[str, float]:
    """Test metrics that the run left."""
    found: dict[str, dict[str, float]] = json.loads((folder.path / "test.json").read_text())
    return found["metrics"]


def predicted(folder: Path) -> dict[str, float]:
    """Test metrics of an exported model."""
    model = load_model(folder)
    return prediction_table(model, read_split(model, "test", {}), [])[1]


TRAINED = {name: (name, {}) for name in methods.names()} | {
    "unimodal": ("unimodal", {"modality": "left"}),
    "ume": ("umt", {"variant": "ume"}),
    "reconboost pretrained": ("reconboost", {"use_pretrain": True}),
}


@pytest.mark.parametrize("label", TRAINED)
def test_a_model_of_every_method_predicts_what_its_run_recorded_without_what_training_alone_needs(
    tmp_path: Path, label: str
) -> None:
    method, hyperparameters = TRAINED[label]
    planned = make_plan(tmp_path, method=method, hyperparameters=hyperparameters,
                        data={"digits": {"train_samples": 70}}, epochs=3)  # fmt: skip
    (run,) = planned.studies[0].configurations[0].runs([0])
    folder = RunFolder(tmp_path / "run")
    phases = {record.phase for record in train(run, folder)}
    write_model(folder, tmp_path / "model", "s", label)
    found, expected = predicted(tmp_path / "model"), recorded(folder)
    shared = {name for name in found if f"test_{name}" in expected}
    assert {"accuracy", "map", "macro_f1"} <= shared
    for name in shared:
        assert found[name] == pytest.approx(expected[f"test_{name}"], abs=1e-6), name
    kind = methods.get(method)
    told = kind.phases_of(kind.Hyperparameters.model_validate(hyperparameters), tuple(run.encoders), run.epochs)
    assert phases == {phase.name for phase in told if phase.epochs}
    left_out = kind.helpers
    kept = load_file(tmp_path / "model" / WEIGHTS)
    assert not [name for name in kept if any(name == each or name.startswith(f"{each}.") for each in left_out)]


@pytest.mark.parametrize("label", ["iprm", "aug"])
def test_an_exported_model_predicts_what_the_run_recorded(store: Store, tmp_path: Path, label: str) -> None:
    card = export_model(store, "s", tmp_path / "model", label=label)
    scores, expected = predicted(tmp_path / "model"), recorded(store.run(card.hash))
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
