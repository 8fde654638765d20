import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.fake_declarations import Toy
from support.small_runs import make_plan
from torchvision.models import resnet18

import data
import methods
from data.base import DataError
from sweep.config import ConfigError, Problem
from sweep.plan.check_data import DataChecks
from sweep.runs.identity import configuration_hash, run_hash, source_digest

pytest_plugins = ["support.sweep_files"]


def values(study):
    return [configuration.values for configuration in study.configurations]


def test_a_run_has_every_default_filled_in(made):
    (study,) = made("method: mixer, datasets: [toy], encoders: {left: {depth: 1}}, patience: 4").studies
    (configuration,) = study.configurations
    (run,) = configuration.runs([3])
    assert configuration.template.seed == 0
    assert run.hyperparameters == {"alpha": 0.8, "kind": "round", "steps": 3, "radius": 0.1}
    assert run.data == {"noise": 0.0, "views": ["left", "right"]}
    assert (run.fingerprint, run.metric, run.patience, run.test_peak, run.seed) == ("toy-0.0", "accuracy", 4, True, 3)
    assert {m: (e["name"], e["width"], e["depth"]) for m, e in run.encoders.items()} == {
        "left": ("mlp", 16, 1),
        "right": ("mlp", 16, 2),
    }
    assert configuration.key == configuration_hash(run)
    assert configuration.values == {}
    assert run_hash(run) != configuration.key


@pytest.mark.parametrize(("written", "expected"), [("", True), (", test_peak: false", False)])
def test_whether_the_best_test_epoch_is_told_is_the_datasets_own_matter_but_for_the_sweep(made, written, expected):
    (study,) = made(f"method: mixer, datasets: [toy]{written}").studies
    assert study.configurations[0].template.test_peak is expected


def test_a_run_names_the_code_of_its_method_and_of_its_dataset(tmp_path):
    (study,) = make_plan(tmp_path).studies
    (run,) = study.configurations[0].runs([0])
    method, dataset = methods.get("iprm"), data.get("digits")
    assert run.source == {"method": source_digest(method), "dataset": source_digest(dataset)}


def test_recipes_lie_over_one_another(made):
    text = "method: mixer, datasets: [toy, files], data: {files: {root: .}}"
    Path("content").write_text("c")
    toy, files = [study.configurations[0].template for study in made(text).studies]
    assert (toy.train.lr, toy.train.schedule.every, toy.epochs) == (0.2, 0.5, 7)
    assert (files.train.lr, files.train.schedule.name, files.epochs) == (0.05, "constant", 30)
    both = [
        s.configurations[0].template
        for s in made(text + ", train: {lr: 0.7, schedule: {name: step, every: 4}}", "epochs=2").studies
    ]
    assert [(run.train.lr, run.train.schedule.every, run.epochs) for run in both] == [(0.7, 4, 2)] * 2


def test_paths_become_absolute_as_workers_start_in_another_folder(made, tmp_path):
    text = "method: mixer, datasets: [files], data: {files: {root: .}}"
    Path("content").write_text("c")
    torch.save(resnet18().state_dict(), "weights.pt")
    (study,) = made(text + ", encoders: {audio: {name: resnet18, pretrained: weights.pt}}").studies
    run = study.configurations[0].template
    assert run.data["root"] == str(tmp_path)
    assert run.encoders["audio"]["pretrained"] == str(tmp_path / "weights.pt")
    assert run.encoders["image"].get("pretrained") is None
    # Where things lie is no part of an identity.
    (elsewhere,) = made(text.replace("root: .", f"root: {json.dumps(str(tmp_path))}")).studies
    (here,) = made(text).studies
    assert elsewhere.configurations[0].key == here.configurations[0].key


def test_the_folder_of_a_backbone_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("backbone").mkdir()
    plans = [
        make_plan(tmp_path / "sweeps", method="moka", hyperparameters={"pretrained": name})
        for name in ("backbone", "owner/backbone")
    ]
    found = [each.studies[0].configurations[0].template.hyperparameters["pretrained"] for each in plans]
    assert found == [str(tmp_path / "backbone"), "owner/backbone"]


def test_the_name_of_a_weight_set_stays_a_name(made):
    (study,) = made(
        "method: mixer, datasets: [toy], encoders: {left: {name: resnet18, pretrained: IMAGENET1K_V1}}"
    ).studies
    assert study.configurations[0].template.encoders["left"]["pretrained"] == "IMAGENET1K_V1"


def test_varied_names_reach_recipe_data_encoders_and_epochs(made):
    names = {
        "train.lr": (0.4, lambda run: run.train.lr),
        "train.schedule.every": (3, lambda run: run.train.schedule.every),
        "data.noise": (0.5, lambda run: run.data["noise"]),
        "data.toy.views": (["right", "left"], lambda run: run.data["views"]),
        "encoders.left.width": (8, lambda run: run.encoders["left"]["width"]),
        "encoders.right": ("cnn", lambda run: run.encoders["right"]["name"]),
        "epochs": (3, lambda run: run.epochs),
        "mixer.alpha": (0.1, lambda run: run.hyperparameters["alpha"]),
        "radius": ({"left": 0.5}, lambda run: run.hyperparameters["radius"]),
    }
    for name, (value, read) in names.items():
        found = made(f"method: mixer, datasets: [toy], vary: {{{name}: {{grid: [{value}]}}}}".replace("'", '"'))
        (configuration,) = found.studies[0].configurations
        assert read(configuration.template) == value, name
        assert configuration.values == {name: value}
        varied = name.startswith(("train", "data")) or name == "epochs"
        assert all(
            (read(reference.template) == value) == varied
            for reference in found.references
            if "alpha" not in name and name != "radius"
        )


def test_a_method_that_its_dataset_does_not_suit_is_refused_or_left_out_as_the_sweep_says(made, monkeypatch):
    from support import fake_declarations as fakes

    monkeypatch.setattr(fakes.Mixer, "max_modalities", 2, raising=False)
    text = "methods: [mixer, ranker], datasets: [toy], data: {toy: {views: [a, b, c]}}, not_applicable: %s"
    assert [study.label for study in made(text % "skip").studies] == ["ranker"]
    with pytest.raises(ConfigError, match="mixer needs exactly 2 modalities"):
        made(text % "refuse")


def test_a_name_with_an_owner_varies_there_alone(made):
    Path("content").write_text("c")
    found = made(
        "methods: [mixer, ranker], datasets: [toy, files], data: {files: {root: .}}, "
        "vary: {mixer.alpha: {grid: [0.1, 0.2]}, data.toy.noise: {grid: [0, 1]}}"
    )
    by_study = {study.name: values(study) for study in found.studies}
    assert by_study == {
        "a/mixer/toy": [{"mixer.alpha": a, "data.toy.noise": n} for a in (0.1, 0.2) for n in (0, 1)],
        "a/mixer/files": [{"mixer.alpha": a} for a in (0.1, 0.2)],
        "a/ranker/toy": [{"data.toy.noise": n} for n in (0, 1)],
        "a/ranker/files": [{}],
    }
    assert {c.template.fingerprint for c in found.studies[0].configurations} == {"toy-0.0", "toy-1.0"}


def test_a_configuration_that_is_written_twice_is_planned_once(made):
    (study,) = made("method: mixer, datasets: [toy], vary: {steps: {grid: [3, 4]}}, points: [{}, {steps: 4}]").studies
    assert values(study) == [{"steps": 3}, {"steps": 4}]


def test_an_encoder_varies_only_where_its_modality_is(made):
    Path("content").write_text("c")
    text = (
        "method: mixer, datasets: [toy, files], data: {files: {root: .}}, vary: {encoders.left.width: {grid: [8, 9]}}"
    )
    toy, files = made(text).studies
    assert values(toy) == [{"encoders.left.width": 8}, {"encoders.left.width": 9}]
    assert values(files) == [{}]


def test_references_follow_the_base_settings(made):
    found = made("method: mixer, datasets: [toy], epochs: 4, vary: {alpha: {grid: [0.1, 0.3]}}, train: {batch_size: 8}")
    assert [(r.label, r.role, r.dataset, r.values) for r in found.references] == [
        ("joint", "reference", "toy", {}),
        ("joint + unimodal losses", "reference", "toy", {}),
        ("ensemble", "reference", "toy", {}),
        ("best unimodal", "reference", "toy", {"modality": "left"}),
        ("best unimodal", "reference", "toy", {"modality": "right"}),
    ]
    joint = found.references[:2]
    assert [r.template.hyperparameters["unimodal_loss_weight"] for r in joint] == [0.0, 1.0]
    assert {(r.template.epochs, r.template.train.lr, r.template.train.batch_size) for r in found.references} == {
        (4, 0.2, 8)
    }


def test_what_a_grid_varies_of_the_recipe_it_varies_for_the_references(made):
    vary = "vary: {alpha: {grid: [0.1, 0.3]}, train.lr: {grid: [0.1, 0.2, 0.4]}, epochs: {grid: [2, 3]}}"
    found = made(f"method: mixer, datasets: [toy], {vary}, report_seeds: [7]")
    assert [(r.label, *r.values.values()) for r in found.references] == [
        (label, lr, epochs)
        for label in ("joint", "joint + unimodal losses", "ensemble")
        for lr in (0.1, 0.2, 0.4)
        for epochs in (2, 3)
    ] + [
        ("best unimodal", lr, epochs, modality)
        for lr in (0.1, 0.2, 0.4)
        for epochs in (2, 3)
        for modality in ("left", "right")
    ]
    assert {r.template.epochs for r in found.references} == {2, 3}
    assert found.report_runs() == 5  # the choice, and one of each reference
    assert found.expected_runs() == (12 + 3 * 6 + 12) * 3 + 5


def test_what_points_set_of_the_recipe_they_set_for_the_references(made):
    points = "points: [{alpha: 0.1, train.lr: 0.1}, {alpha: 0.3, train.lr: 0.1}, {train.lr: 0.4}, {alpha: 0.5}]"
    found = made(f"method: mixer, datasets: [toy], {points}")
    assert [r.values for r in found.references if r.label == "joint"] == [{"train.lr": 0.1}, {"train.lr": 0.4}]


def test_references_are_varied_only_where_the_sweep_does_not_train_them(made):
    found = made("methods: [joint, mixer], datasets: [toy], vary: {train.lr: {grid: [0.1, 0.4]}}")
    assert {r.label for r in found.references} == {"joint + unimodal losses", "ensemble", "best unimodal"}


def test_references_do_not_repeat_what_the_sweep_trains(made):
    found = made("methods: [joint, ensemble, mixer], datasets: [toy]")
    assert [r.label for r in found.references] == ["joint + unimodal losses", "best unimodal", "best unimodal"]
    found = made("method: joint, datasets: [toy], vary: {unimodal_loss_weight: {grid: [0, 1, 2]}}")
    assert [r.label for r in found.references] == ["ensemble", "best unimodal", "best unimodal"]


def test_the_best_of_the_unimodal_models_is_the_best_of_all_of_them(made):
    """A sweep that trains one of them has all of them as the reference, one that trains all has none."""
    one = made("methods: [mixer, {method: unimodal, hyperparameters: {modality: left}}], datasets: [toy]")
    every = made("methods: [mixer, unimodal], datasets: [toy], vary: {unimodal.modality: each}")
    assert [r.values for r in one.references if r.method == "unimodal"] == [{"modality": "left"}, {"modality": "right"}]
    assert [r.label for r in every.references] == ["joint", "joint + unimodal losses", "ensemble"]


def test_unimodal_runs_are_the_same_in_every_sweep(made):
    several = [made(f"{text}, datasets: [toy]") for text in ("method: mixer", "methods: [mixer, ranker]")]
    keys = [{r.key for r in found.references if r.label == "best unimodal"} for found in several]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 2


def test_references_are_those_that_are_named_in_the_order_of_the_tables(made):
    found = made("method: mixer, datasets: [toy], references: [best unimodal, joint]")
    assert [r.label for r in found.references] == ["joint", "best unimodal", "best unimodal"]


def test_references_can_be_left_out(made):
    assert made("method: mixer, datasets: [toy], references: false").references == []


def test_references_are_left_out_where_they_are_not_defined(made, monkeypatch):
    from support import fake_declarations as fakes

    monkeypatch.setattr(fakes.Ranker, "min_modalities", 1)
    found = made("method: ranker, datasets: [toy], data: {toy: {views: [left]}}")
    assert len(found.studies[0].configurations) == 1
    assert [r.label for r in found.references] == ["ensemble", "best unimodal"]


def test_data_that_cannot_be_found_is_named_with_the_line_of_its_options(made):
    with pytest.raises(ConfigError) as caught:
        made("method: mixer, datasets: [files], data: {files: {root: nowhere}}")
    assert str(caught.value) == "sweeps.yaml:2: sweeps.a.data.files: nowhere/content is missing"


def test_data_that_moves_stays_the_same_data(made):
    for folder in ("one", "two"):
        Path(folder).mkdir()
        (Path(folder) / "content").write_text("same")
    text = "method: mixer, datasets: [files], data: {files: {root: %s}}"
    one, two = (made(text % folder).studies[0].configurations[0] for folder in ("one", "two"))
    assert one.template != two.template
    assert one.key == two.key


def test_fingerprints_are_taken_once(made, monkeypatch):
    from support import fake_declarations as fakes

    calls = []
    monkeypatch.setattr(fakes.Toy, "fingerprint", classmethod(lambda cls, options: calls.append(options.noise) or "f"))
    made(
        "method: mixer, datasets: [toy], vary: {data.noise: {grid: [0, 1]}, steps: {grid: [1, 2, 3]}}",
        "references=false",
    )
    assert calls == [0.0, 1.0]


# Conditions -------------------------------------------------------------------------------------------------------


def test_a_grid_has_no_two_points_that_differ_in_what_has_no_effect(made, conditional):
    text = "method: mixer, datasets: [toy], vary: {slope: {grid: [1, 2, 3]}, kind: {grid: [round, flat]}}"
    (study,) = made(text).studies
    assert values(study) == [
        {"kind": "round"},
        {"slope": 1, "kind": "flat"},
        {"slope": 2, "kind": "flat"},
        {"slope": 3, "kind": "flat"},
    ]
    assert [c.template.hyperparameters["slope"] for c in study.configurations] == [1, 1, 2, 3]


def test_a_condition_holds_only_with_all_above_it(made, conditional):
    names = "width: {grid: [1, 5]}, smooth: {grid: [false, true]}, kind: {grid: [round, flat]}"
    (study,) = made(f"method: mixer, datasets: [toy], vary: {{{names}}}").studies
    assert values(study) == [
        {"kind": "round"},
        {"smooth": False, "kind": "flat"},
        {"width": 1, "smooth": True, "kind": "flat"},
        {"width": 5, "smooth": True, "kind": "flat"},
    ]


def test_a_fixed_value_without_effect_is_the_same_configuration(made, conditional):
    plain, fixed = (
        made(f"method: mixer, datasets: [toy]{more}").studies[0].configurations[0]
        for more in ("", ", hyperparameters: {slope: 3, smooth: true, width: 7}")
    )
    assert plain.key == fixed.key
    assert (
        fixed.template.hyperparameters | {"slope": 1.0, "smooth": False, "width": 2} == fixed.template.hyperparameters
    )
    flat, sloped = (
        made(f"method: mixer, datasets: [toy], hyperparameters: {{kind: flat{more}}}").studies[0].configurations[0]
        for more in ("", ", slope: 3")
    )
    assert len({plain.key, flat.key, sloped.key}) == 3


# Searched references ----------------------------------------------------------------------------------------------

SEARCH = "search: {algorithm: random, configurations: 5}, report_seeds: [9]"


def test_references_are_searched_over_those_names_that_exist_for_them(made):
    found = made(
        f"method: mixer, datasets: [toy], {SEARCH}, vary: {{alpha: auto, mixer.steps: {{int: [1, 5]}}, "
        "train.lr: {loguniform: [0.1, 1]}, data.noise: {uniform: [0, 1]}, epochs: {int: [2, 9]}}"
    )
    assert [(study.label, study.role, list(study.space)) for study in found.searched_references] == [
        ("joint", "reference", ["train.lr", "data.noise", "epochs"]),
        ("joint + unimodal losses", "reference", ["train.lr", "data.noise", "epochs"]),
        ("ensemble", "reference", ["train.lr", "data.noise", "epochs"]),
        ("best unimodal", "reference", ["train.lr", "data.noise", "epochs", "modality"]),
    ]
    assert found.references == []
    *plain, unimodal = found.searched_references
    assert [s.configuration({"train.lr": 0.5}).template.hyperparameters for s in plain[:2]] == [
        {"unimodal_loss_weight": 0.0}, {"unimodal_loss_weight": 1.0}
    ]  # fmt: skip
    assert all(study.first == [{"train.lr": 0.2, "data.noise": 0.0, "epochs": 7}] for study in plain)
    chosen = unimodal.configuration({"modality": "right", "train.lr": 0.5})
    assert chosen.template.hyperparameters == {"modality": "right"}
    assert (found.searched_runs(), found.report_runs()) == (5 * 5 * 3, 5)
    assert found.expected_runs() == 80
    assert len(found.searches) == 5


def test_references_for_which_nothing_varies_are_one_configuration_each(made):
    found = made(f"method: mixer, datasets: [toy], {SEARCH}, vary: {{alpha: auto}}")
    assert (len(found.references), found.searched_references) == (5, [])
    assert found.expected_runs() == 5 * 3 + 5 * 3 + 5
    without = made(
        f"method: mixer, datasets: [toy], {SEARCH}, vary: {{train.lr: {{uniform: [0.1, 1]}}}}, references: false"
    )
    assert (without.references, without.searched_references) == ([], [])


def test_a_search_of_a_reference_itself_is_not_repeated(made):
    found = made(f"methods: [joint, mixer], datasets: [toy], {SEARCH}, vary: {{train.lr: {{uniform: [0.1, 1]}}}}")
    labels = [study.label for study in found.searched_references]
    assert labels == ["joint + unimodal losses", "ensemble", "best unimodal"]


def test_a_search_on_data_that_cannot_be_found_is_refused_before_anything_runs(made):
    with pytest.raises(ConfigError, match=r"sweeps\.a\.data\.files: nowhere/content is missing"):
        made(f"method: mixer, datasets: [files], data: {{files: {{root: nowhere}}}}, {SEARCH}, vary: {{alpha: auto}}")


@pytest.mark.parametrize("defaults_again", ["", "{alpha: 0.8}, "])
def test_a_search_tries_the_defaults_then_the_points_in_their_order(made, defaults_again):
    points = f"points: [{{alpha: 0.7}}, {defaults_again}{{alpha: 0.2}}]"
    (study,) = made(
        f"method: mixer, datasets: [toy], references: false, {SEARCH}, vary: {{alpha: auto}}, {points}"
    ).studies
    assert study.first == [{"alpha": 0.8}, {"alpha": 0.7}, {"alpha": 0.2}]


@pytest.mark.parametrize("keys", ["vary: {alpha: {grid: [0.1, 0.2]}}", f"{SEARCH}, vary: {{alpha: auto}}"])
def test_what_is_wrong_with_data_is_said_by_grids_and_searches_alike(made, monkeypatch, keys):
    text = f"method: mixer, datasets: [toy], references: false, {keys}"
    made(text)
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "fingerprint", classmethod(refuse))
        with pytest.raises(ConfigError, match=r"sweeps\.a\.data\.toy: row 3 is torn"):
            made(text)
    wrong = [Problem("f", 1, "data.toy", "row 4 is torn")]
    monkeypatch.setattr(DataChecks, "data_problems", lambda checks, sweep, dataset, options: iter(wrong))
    with pytest.raises(ConfigError) as caught:
        made(text)
    assert caught.value.problems == wrong


def refuse(kind, options):
    raise DataError("row 3 is torn")


def test_a_search_that_would_propose_what_the_data_do_not_fit_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("set.npz", sound=np.zeros((300, 12), np.float32), labels=np.arange(300) % 3)
    keys = {
        "method": None,
        "methods": [{"method": "unimodal", "hyperparameters": {"modality": "sound"}}],
        "datasets": ["arrays"],
        "data": {"arrays": {"root": "set.npz", "modalities": ["sound"]}},
        "search": {"algorithm": "random", "configurations": 3},
    }
    # Of a grid, of points and of a search.
    with pytest.raises(ConfigError, match=r"vary\.encoders\.sound: encoder cnn cannot take a sample of shape \[12\]"):
        make_plan(tmp_path, **keys | {"search": None}, vary={"encoders.sound": {"grid": ["mlp", "cnn"]}})
    with pytest.raises(ConfigError) as caught:
        make_plan(tmp_path, **keys | {"search": None}, points=[{"encoders.sound": "cnn"}, {"encoders.sound": "gru"}])
    assert len(caught.value.problems) == 2
    for encoders in (["mlp", "cnn"], ["cnn", "mlp"]):
        with pytest.raises(
            ConfigError, match=r"vary\.encoders\.sound: encoder cnn cannot take a sample of shape \[12\]"
        ):
            make_plan(tmp_path, **keys, vary={"encoders.sound": {"choice": encoders}})
    vary = {"encoders.sound": {"choice": ["mlp", {"name": "mlp", "width": 8}]}}
    assert len(make_plan(tmp_path, **keys, vary=vary).searches) == 1
