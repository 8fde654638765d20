"""Defaults below, the sweep above, overrides on top."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

from sweep import config
from sweep.config import Range

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


SEARCH = (
    "sweeps: {a: {method: mixer, datasets: [toy], vary: {alpha: auto}, search: {algorithm: tpe, configurations: 3}}}"
)


SMALL = "sweeps:\n  a: {method: mixer, datasets: [toy]}\n"


def test_defaults_lie_below_a_sweep(one):
    sweep = one("""
defaults:
  methods: [joint, ranker]
  seeds: [4]
  train: {lr: 0.3, weight_decay: 0.0, schedule: {name: step, every: 5, factor: 0.5}}
  data: {toy: {noise: 0.5}, files: {size: 3}}
  encoders: {left: {name: mlp, width: 8}, right: {name: mlp, width: 8}}
  hyperparameters: {alpha: 0.3, radius: {left: 0.1}}
  resources: {cpus: 2}
sweeps:
  a:
    method: mixer
    datasets: [toy]
    train: {lr: 0.1, schedule: {name: cosine}}
    data: {toy: {views: [right, left]}}
    encoders: {left: cnn, right: {depth: 1}}
    hyperparameters: {radius: {right: 0.2}}
    resources: {gpus: 1}
""")
    assert [m.method for m in sweep.methods] == ["mixer"]
    assert sweep.seeds == [4]
    assert sweep.train == {"lr": 0.1, "weight_decay": 0.0, "schedule": {"name": "cosine"}}
    assert sweep.data == {"toy": {"noise": 0.5, "views": ["right", "left"]}, "files": {"size": 3}}
    assert sweep.encoders == {"left": {"name": "cnn"}, "right": {"name": "mlp", "width": 8, "depth": 1}}
    assert sweep.hyperparameters == {"alpha": 0.3, "radius": {"right": 0.2}}
    assert (sweep.resources.cpus, sweep.resources.gpus) == (2, 1)


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("epochs=5", "epochs", 5),
        ("epochs=null", "epochs", None),
        ("references=false", "references", []),
        ("retries=0", "retries", 0),
        ("encoders={}", "encoders", {}),
        ("timeout=30m", "timeout", 1800),
        ("train.lr=1e-3", "train", {"lr": 1e-3}),
        ("train.schedule.every=3", "train", {"schedule": {"every": 3}}),
        ("data.toy.noise=0", "data", {"toy": {"noise": 0}}),
        ("hyperparameters.steps=2", "hyperparameters", {"steps": 2}),
        ("hyperparameters.mixer.steps=2", "hyperparameters", {"mixer.steps": 2}),
        ("datasets=[files, toy]", "datasets", ["files", "toy"]),
        ("encoders.left=cnn", "encoders", {"left": {"name": "cnn"}}),
        ("title=a: b", "title", None),
        ("title='a = b'", "title", "a = b"),
        ("budget.hours=2", "budget", config.BudgetSpec(hours=2)),
    ],
)
def test_an_override_is_a_yaml_value_at_a_key(one, override, key, expected):
    text = "sweeps: {a: {method: mixer, datasets: [toy], epochs: 9, data: {files: {root: x}}}}"
    if expected is None and key == "title":
        assert problem_lines(one, text, override) == ["command line: title=a: b: expected a text, not a mapping"]
        return
    sweep = one(text, override)
    found = getattr(sweep, key)
    assert found == ({"files": {"root": "x"}} | expected if key == "data" else expected)


def test_overrides_of_a_range_replace_it(one):
    assert one(SEARCH, "vary.alpha.grid=[0.1, 0.5]").vary["alpha"] == Range.model_validate({"grid": [0.1, 0.5]})
    assert one(SEARCH, "vary.alpha={uniform: [0, 1]}").vary["alpha"] == Range.model_validate({"uniform": [0, 1]})
    more = one(SEARCH, "vary.train.lr.loguniform=[0.01, 0.1]", "search.configurations=4")
    assert list(more.vary) == ["alpha", "train.lr"]
    assert (more.search.algorithm, more.search.configurations) == ("tpe", 4)


def test_the_last_override_wins(one):
    assert one(SMALL, "epochs=5", "epochs=6").epochs == 6
    assert one(SMALL, "scheduler=median", "scheduler.grace=2").scheduler.grace == 2
    assert one(SMALL, "method=joint").methods[0].method == "joint"
    assert [m.label for m in one(SMALL, "methods=[joint, ranker]").methods] == ["joint", "ranker"]


def test_an_override_is_stronger_than_the_entry_of_a_method(one):
    text = "sweeps: {a: {methods: [{method: mixer, hyperparameters: {steps: 9, alpha: 0.1}}], datasets: [toy]}}"
    sweep = one(text, "hyperparameters.steps=2")
    assert sweep.hyperparameters == {"steps": 2}
    assert sweep.methods[0].hyperparameters == {"alpha": 0.1}


def test_a_part_that_joins_the_entry_of_a_method_is_of_the_command_line(one):
    text = "sweeps: {a: {methods: [{method: mixer, hyperparameters: {steps: 9}}], datasets: [toy]}}"
    (problem,) = problem_lines(one, text, "hyperparameters.steps.left=2")
    assert problem.startswith("command line: hyperparameters.steps.left=2: ")


def test_an_override_that_would_be_lost_is_refused(one):
    points = "sweeps: {a: {method: mixer, datasets: [toy], points: [{alpha: 0.1}, {steps: 2}]}}"
    assert problem_lines(one, points, "hyperparameters.alpha=0.3") == [
        "command line: hyperparameters.alpha=0.3: the points of this sweep set alpha; write points=[...] instead"
    ]
    assert problem_lines(one, SEARCH, "hyperparameters.alpha=0.3") == [
        "command line: hyperparameters.alpha=0.3: this sweep varies alpha; write vary.alpha=... instead"
    ]
    assert problem_lines(one, SMALL, "data.files.size=3") == [
        "command line: data.files.size=3: this sweep does not use files; there are: toy"
    ]


# Places --------------------------------------------------------------------------------------------------------------

LINES = """
defaults:
  loggers: [mlflow, wandbb]
sweeps:
  a:
    method:
      mixxer
    datasets: [toy]
"""


def test_short_forms_keep_the_place_at_which_they_were_written(one):
    assert problem_lines(one, LINES) == [
        "sweeps.yaml:3: defaults.loggers[1]: no key called 'wandbb'; did you mean wandb?",
        "sweeps.yaml:6: sweeps.a.method: no method called 'mixxer'; did you mean mixer?",
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epochs", "epochs: expected key=value; as in epochs=5 or train.lr=0.1"),
        ("epochs= ", "epochs= : the value is empty; write null, [] or '' if that is meant"),
        ("epoch=3", "epoch=3: no key called 'epoch'; did you mean epochs?"),
        ("name=b", "name=b: no key called 'name'"),
        ("train..lr=3", "train..lr=3: a part of the key is empty"),
        ("train.=3", "train.=3: a part of the key is empty"),
        ("epochs.x=3", "epochs.x=3: epochs is no mapping, so nothing lies below it"),
        ("train.lr.x=3", "train.lr.x=3: train.lr is no mapping, so nothing lies below it"),
        ("hyperparameters.alpha=3", "hyperparameters.alpha=3: this sweep varies alpha; write vary.alpha=... instead"),
        ("train.lr=3", "train.lr=3: the points of this sweep set train.lr; write points=[...] instead"),
        (
            "hyperparameters.radius.left=3",
            "hyperparameters.radius.left=3: the points of this sweep set radius; write points=[...] instead",
        ),
        (
            "data.toy.noise.x=3",
            "data.toy.noise.x=3: this sweep varies data.toy.noise; write vary.data.toy.noise=... instead",
        ),
    ],
)
def test_an_override_that_cannot_be_is_told_whole(one, override, said):
    text = (
        "sweeps: {a: {method: mixer, datasets: [toy], epochs: 9, train: {lr: 0.1}, "
        "points: [{train.lr: 0.2, radius: 1}], vary: {alpha: {grid: [0.1]}, data.toy.noise: {grid: [0]}}}}"
    )
    assert problem_lines(one, text, override) == [f"command line: {said}"]


def test_several_wrong_overrides_are_told_at_once(one):
    assert problem_lines(one, SMALL, "epoch=3", "epochs", "steps=3", "epochs=5") == [
        "command line: epoch=3: no key called 'epoch'; did you mean epochs?",
        "command line: epochs: expected key=value; as in epochs=5 or train.lr=0.1",
        "command line: steps=3: no key called 'steps'; did you mean seeds?",
    ]


def test_a_method_of_the_command_line_stands_alone(one):
    text = "sweeps: {a: {methods: [mixer, ranker], datasets: [toy]}}"
    assert [entry.method for entry in one(text, "method=joint").methods] == ["joint"]
    assert problem_lines(one, "sweeps: {a: {method: mixer, methods: [joint], datasets: [toy]}}") == [
        "sweeps.yaml:1: sweeps.a.method: stands beside methods; keep one of them"
    ]


def test_an_entry_of_a_method_keeps_its_label_and_takes_the_methods_name_else(one):
    entries = one(
        "sweeps: {a: {methods: [mixer, {method: joint}, {method: joint, label: x}], datasets: [toy]}}"
    ).methods
    assert [(entry.method, entry.label) for entry in entries] == [
        ("mixer", "mixer"),
        ("joint", "joint"),
        ("joint", "x"),
    ]


def test_loggers_may_be_a_list_of_names_or_a_mapping(one):
    text = "sweeps: {a: {method: mixer, datasets: [toy], loggers: %s}}"
    assert one(text % "[]").loggers.chosen() == []
    (line,) = problem_lines(one, text % "[mlflow, 3]")
    assert line.startswith("sweeps.yaml:1: sweeps.a.loggers: expected a mapping, not a list")


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ("train: {lr: 0.1, momentum: 0.5}", "train: {lr: 0.2}", {"lr": 0.2, "momentum": 0.5}),
        ("train: {schedule: {name: step, every: 5}}", "train: {schedule: {every: 6}}",
         {"schedule": {"name": "step", "every": 6}}),
        ("train: {schedule: {name: step, every: 5}}", "train: {schedule: {name: step, factor: 0.5}}",
         {"schedule": {"name": "step", "every": 5, "factor": 0.5}}),
        ("train: {schedule: {name: step, every: 5}}", "train: {schedule: {name: cosine}}",
         {"schedule": {"name": "cosine"}}),
        ("train: {schedule: {every: 5}}", "train: {schedule: {name: step}}",
         {"schedule": {"every": 5, "name": "step"}}),
        ("train: {lr: 0.1}", "epochs: 3", {"lr": 0.1}),
    ],
)  # fmt: skip
def test_a_recipe_merges_key_by_key_and_a_schedule_with_one_of_its_name(one, below, above, merged):
    sweep = one(f"defaults: {{{below}}}\nsweeps: {{a: {{method: mixer, datasets: [toy], {above}}}}}")
    assert sweep.train == merged


def test_other_mappings_replace_one_another(one):
    defaults = (
        "defaults: {search: {algorithm: tpe, configurations: 9, seed: 4}, vary: {alpha: auto}, budget: {hours: 2}}"
    )
    sweep = one(
        f"{defaults}\nsweeps: {{a: {{method: mixer, datasets: [toy], search: {{algorithm: random, configurations: 3}}, "
        "vary: {kind: auto}, budget: {runs: 3}}}"
    )
    assert (sweep.search.algorithm, sweep.search.seed, list(sweep.vary)) == ("random", 0, ["kind"])
    assert (sweep.budget.hours, sweep.budget.runs) == (None, 3)


def test_the_command_line_takes_a_hyperparameter_from_every_entry_of_its_method(one):
    text = (
        "sweeps: {a: {methods: [{method: mixer, hyperparameters: {steps: 9, radius.left: 0.5, alpha: 0.1}}, "
        "{method: ranker, hyperparameters: {alpha: 0.3}}, joint], datasets: [toy], "
        "hyperparameters: {mixer.radius.right: 1}}}"
    )
    of = [entry.hyperparameters for entry in one(text, "hyperparameters.mixer.alpha=0.7").methods]
    assert of == [{"steps": 9, "radius.left": 0.5}, {"alpha": 0.3}, {}]
    whole = one(text, "hyperparameters.mixer.radius=0.7")
    assert whole.hyperparameters == {"mixer.radius": 0.7}
    assert whole.methods[0].hyperparameters == {"steps": 9, "alpha": 0.1}
