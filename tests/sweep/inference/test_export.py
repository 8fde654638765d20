"""Export: the best run, or a named one, as a folder that predicts what the run recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.corrupted_results import noisier_and_noisier
from support.small_runs import make_environment, make_plan
from support.synthetic_results import Results

import methods
from sweep.inference.export import _best_run, _run_of_hash, export_model, write_model
from sweep.inference.model import WEIGHTS, ModelError, load_model
from sweep.inference.predict import prediction_table, read_split
from sweep.results.tables import load
from sweep.runs.records import FinalRecord
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


# By hand -------------------------------------------------------------------------------------------------------------


def levels(accuracy: float) -> dict[str, float]:
    return {"multi": accuracy, "left": 0.5, "profile": 0.5}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Two configurations of iprm, the second of them better on the mean and the first in its best run; one of aug."""
    found = Results(tmp_path / "results")
    found.sweep("one")
    for alpha, accuracies in ((0.1, (0.9, 0.2)), (0.5, (0.6, 0.7))):
        for seed, accuracy in enumerate(accuracies):
            found.run("one", "iprm", seed, levels(accuracy), values={"alpha": alpha})
    found.run("one", "aug", 0, levels(0.5))
    found.run("one", "aug", 1, levels(0.4))
    found.run("one", "joint", 0, levels(0.99), role="reference")
    found.run("one", "joint", 1, levels(0.99), role="reference")
    return found


def test_the_best_run_is_of_the_best_configuration_of_the_sweep_or_of_a_label(results: Results) -> None:
    rows = load(results.path / "one")
    assert _best_run(rows, None, None)["hash"] == f"{4:012d}"
    assert _best_run(rows, "aug", None)["hash"] == f"{5:012d}"
    # A reference is the best of its own label alone.
    assert _best_run(rows, "joint", None)["hash"] == f"{7:012d}"
    results.run("one", "iprm", 2, values={"alpha": 0.5}, status="failed", metrics={"validation_accuracy": 0.99})
    assert _best_run(load(results.path / "one"), None, None)["hash"] == f"{4:012d}"


def test_of_a_choice_that_was_trained_under_report_seeds_one_of_these_is_the_best_run(results: Results) -> None:
    for seed, accuracy in ((7, 0.3), (8, 0.35), (9, 0.1)):
        results.run("one", "iprm", seed, levels(accuracy), values={"alpha": 0.5}, role="report")
    assert _best_run(load(results.path / "one"), "iprm", None)["hash"] == f"{10:012d}"


def test_of_several_datasets_one_is_chosen(results: Results) -> None:
    other = Results(results.path, dataset="mfeat")
    other._made = results._made
    other.run("one", "iprm", 0, levels(0.1), values={"alpha": 0.1})
    rows = load(results.path / "one")
    with pytest.raises(ModelError, match="the sweep has several datasets: choose one with --dataset: digits, mfeat"):
        _best_run(rows, None, None)
    assert _best_run(rows, None, "mfeat")["hash"] == f"{9:012d}"
    assert _best_run(rows, "iprm", "digits")["hash"] == f"{4:012d}"
    for options, said in [
        ((None, "mfeats"), "the sweep has no dataset 'mfeats'; did you mean mfeat?"),
        (("x", "digits"), "the sweep has no label 'x'; there are: iprm, aug, joint"),
    ]:
        with pytest.raises(ModelError) as told:
            _best_run(rows, *options)
        assert str(told.value) == said


def test_the_best_run_is_of_the_label_that_leads_under_fresh_seeds(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for label, searched, fresh in (("aug", 0.9, 0.6), ("iprm", 0.9, 0.8)):
        results.run("one", label, 0, {"multi": searched}, values={"alpha": 0.1})
        results.run("one", label, 1, {"multi": fresh}, values={"alpha": 0.1}, role="report")
    rows = load(tmp_path / "one")
    best = _best_run(rows, None, None)
    assert (best["label"], best["seed"]) == ("iprm", 1)


def test_where_nothing_has_finished_there_is_no_best_run(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0, status="failed")
    with pytest.raises(ModelError, match="the sweep has no finished run; python -m sweep show says why"):
        _best_run(load(tmp_path / "one"), None, None)


def test_a_run_is_named_by_the_beginning_of_its_hash(results: Results) -> None:
    rows = load(results.path / "one")
    assert _run_of_hash(rows, f"{3:012d}")["hash"] == f"{3:012d}"
    known = ", ".join(f"{number:012d}" for number in range(1, 9))
    for beginning, why in [("0000", "8 runs begin with it"), ("zzz", f"there are: {known}")]:
        with pytest.raises(ModelError) as told:
            _run_of_hash(rows, beginning)
        said = f"no single run {beginning!r} in this sweep: {why}; python -m sweep show lists them"
        assert str(told.value) == said
    # One that stands twice in the index, as a report seed may be one of the others, is one.
    index = results.path / "one" / "index.jsonl"
    line = index.read_text().splitlines()[2]
    with index.open("a") as file:
        file.write(line.replace('"sweep"', '"report"') + "\n")
    assert _run_of_hash(load(results.path / "one"), f"{3:012d}")["hash"] == f"{3:012d}"


def test_a_run_without_weights_or_without_an_end_is_no_model(tmp_path: Path) -> None:
    (run,) = make_plan(tmp_path, method="joint").studies[0].configurations[0].runs([0])
    folder = RunFolder(tmp_path / "run")
    for final, status in (
        (None, "not ended"),
        (FinalRecord(status="failed"), "failed"),
        (FinalRecord(status="done"), "done"),
    ):
        folder.open(run, make_environment())
        if final is not None:
            folder.commit(final)
        if status == "not ended":
            (folder.path / "weights.safetensors").write_bytes(b"x")
        else:
            (folder.path / "weights.safetensors").unlink(missing_ok=True)
        with pytest.raises(ModelError) as told:
            write_model(folder, tmp_path / "model", "s", "joint")
        assert str(told.value) == (
            f"run run of s has no weights (status {status}): the sweep keeps those of its best configuration (keep: "
            "best); with keep: all and --force they are trained again and kept"
        )
    assert not (tmp_path / "model").exists()


def test_a_card_tells_where_a_model_comes_from(tmp_path: Path) -> None:
    keys = {"method": "joint", "data": {"digits": {"train_samples": 60}}}
    (run,) = make_plan(tmp_path, **keys).studies[0].configurations[0].runs([0])
    folder = RunFolder(tmp_path / "run")
    folder.open(run, make_environment(packages={"torch": "2"}))
    metrics = {"validation_accuracy": 0.5}
    folder.commit(FinalRecord(status="done", metrics=metrics, epochs_trained=3, selected_epoch=2))
    (folder.path / "weights.safetensors").write_bytes(b"weights")
    card = write_model(folder, tmp_path / "deep" / "model", "s", "a label")
    assert (card.sweep, card.label, card.hash, card.run) == ("s", "a label", "run", run)
    assert (card.selected_epoch, card.validation, card.packages) == (2, metrics, {"torch": "2"})
    assert (card.shapes, card.classes) == ({"left": [32], "profile": [8]}, [str(digit) for digit in range(10)])
    assert (tmp_path / "deep" / "model" / WEIGHTS).read_bytes() == b"weights"
    (folder.path / "environment.json").unlink()
    folder.commit(FinalRecord(status="done", metrics=metrics, epochs_trained=3))
    card = write_model(folder, tmp_path / "deep" / "model", "s", "a label")
    assert (card.selected_epoch, card.packages) == (3, {})


def test_of_several_severities_the_one_to_export_is_named(tmp_path: Path) -> None:
    """Nothing is chosen among them; the synthetic runs have no weights."""
    noisier_and_noisier(tmp_path / "results", (0, 4))
    store = Store(tmp_path / "results")
    known = "digits at profile noise 0, digits at profile noise 4"
    with pytest.raises(ModelError, match=f"choose one with --dataset: {known}$"):
        export_model(store, "noise", tmp_path / "model")
    with pytest.raises(ModelError, match="weights") as caught:
        export_model(store, "noise", tmp_path / "model", dataset="digits at profile noise 4")
    runs = load(tmp_path / "results" / "noise").set_index("hash")
    (named,) = [run for run in runs.index if run in str(caught.value)]
    assert (runs["point"][named], runs["label"][named]) == ("alpha=0.9, data.digits.corrupt.profile.noise=4", "iprm")
